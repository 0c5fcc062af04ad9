"""A digital detector's films that use 130 of 65,536 levels: trained on, predicted on, simulated on and checked."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from dicom_files import write_dark_dicom

from data.patch_files import read_patches
from data.radiograph import read_radiograph, write_radiograph
from radiograph.commands import check_data, evaluate, make_patches, predict, simulate_defects, train

TINY = {
    "name": "dark",
    "model": {
        "name": "faster_rcnn", "backbone": "resnet18", "width": 0.5, "pyramid": True, "fpn_channels": 16,
        "min_size": None, "crop_size": 7, "head_channels": 16,
        "rpn": {"anchor_sizes": [[8], [16], [32]]},
    },
    "train": {"epochs": 1, "batch_size": 2, "device": "cpu"},
}  # fmt: skip


def run(command, *arguments: object) -> Result:
    result = CliRunner().invoke(command.main, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four films and their COCO file, one defect on each."""
    folder = tmp_path_factory.mktemp("films")
    images, annotations = [], []
    for k in range(1, 5):
        write_dark_dicom(folder / f"{k}.dcm", k)
        images.append({"id": k, "file_name": f"{k}.dcm", "width": 160, "height": 120})
        annotations.append({"id": k, "image_id": k, "category_id": 1, "bbox": [60, 50, 20, 15]})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "defect"}]}
    (folder / "films.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def trained(films: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """The folder of a run on the films, and what the command said."""
    folder = tmp_path_factory.mktemp("run")
    source = {"json": str(films / "films.json")}
    data = {"workers": 0, "cache": True, "train": source, "val": source}
    (folder / "dark.yaml").write_text(yaml.safe_dump(TINY | {"data": data, "output": str(folder / "runs")}))
    result = run(train, "--cfg", folder / "dark.yaml")
    assert result.exit_code == 0, result.output
    return next((folder / "runs").rglob("config.yaml")).parent, result


@pytest.mark.slow
def test_the_window_is_chosen_once_kept_and_repeated(trained: tuple[Path, Result], films: Path, tmp_path: Path) -> None:
    folder, result = trained
    warnings = [line for line in result.stderr.splitlines() if line.startswith("warning: ")]
    assert any("its own window (center 324.5, width 119) counts" in line for line in warnings)
    assert any("burnt-in caption" in line for line in warnings)
    window = yaml.safe_load((folder / "config.yaml").read_text())["data"]["window"]
    assert window["kind"] == "fitted"
    low, high = window["trained_on"]
    assert 0 <= low < 0.1
    assert 0.9 < high <= 1

    said = run(predict, "--run", folder, "--out", tmp_path / "a", films / "1.dcm")
    assert said.exit_code == 0
    assert "counts: level 265 is black, 383 white" in said.stderr
    assert "trained on" not in said.stderr
    overlay = read_radiograph_rgb(tmp_path / "a/overlays/1.png")
    assert np.percentile(overlay, 90) - np.percentile(overlay, 10) > 100  # not black
    (image,) = json.loads((tmp_path / "a/images.json").read_text())["images"]
    assert image["pixel_size_mm"] == 0.1

    said = run(predict, "--run", folder, "--out", tmp_path / "b", "--window", "full", films / "1.dcm")
    assert "it looks empty, to you and to the model" in said.stderr
    write_radiograph(tmp_path / "bright.png", np.random.default_rng(0).normal(0.97, 0.001, (60, 80)).clip(0, 1), 8)
    said = run(predict, "--run", folder, "--window", "full", "--out", tmp_path / "c", tmp_path / "bright.png")
    assert "warning" not in said.stderr  # 0.97 was seen in training


def read_radiograph_rgb(path: Path) -> np.ndarray:
    """Return the gray values, 0 to 255, of a picture in color."""
    import cv2

    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2GRAY)


@pytest.mark.slow
def test_resuming_keeps_the_window(trained: tuple[Path, Result], films: Path) -> None:
    folder, _ = trained
    before = yaml.safe_load((folder / "config.yaml").read_text())["data"]["window"]
    result = run(train, "--resume", folder, "--set", "train.epochs=1")
    assert result.exit_code == 0, result.output
    assert yaml.safe_load((folder / "config.yaml").read_text())["data"]["window"] == before


def test_simulated_defects_keep_depth_spacing_and_a_picture_to_look_at(films: Path, tmp_path: Path) -> None:
    result = run(simulate_defects, films / "films.json", "--out", tmp_path / "sim", "--per-image", 1)
    assert result.exit_code == 0, result.output
    assert "warning: " in result.stderr
    written = json.loads((tmp_path / "sim/annotations.json").read_text())
    assert {image["pixel_size_mm"] for image in written["images"]} == {0.1}
    after = read_radiograph(tmp_path / "sim" / written["images"][0]["file_name"])
    assert after.bit_depth == 16
    assert after.levels.min() > 200
    picture = read_radiograph_rgb(tmp_path / "sim/before_after.png")
    assert np.percentile(picture, 85) - np.percentile(picture, 15) > 80


def test_checking_says_how_they_will_be_read(films: Path) -> None:
    result = run(check_data, films / "films.json", "--images", films)
    assert result.exit_code == 0
    assert "clean" in result.output
    assert "films.json" not in result.stderr
    assert "counts: level 265 is black" in result.stderr
    assert "(and 3 more such radiographs)" in result.stderr


@pytest.fixture(scope="module")
def twelve_bits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the COCO file of two radiographs of 12 bits in PNG files of 16, one defect on each."""
    folder = tmp_path_factory.mktemp("twelve")
    images, annotations = [], []
    for k in (1, 2):
        levels = np.rint(np.random.default_rng(k).normal(2000, 300, (96, 128)))
        write_radiograph(folder / f"{k}.png", levels / 65535, 16)
        images.append({"id": k, "file_name": f"{k}.png", "width": 128, "height": 96})
        annotations.append({"id": k, "image_id": k, "category_id": 1, "bbox": [60, 50, 20, 15]})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "defect"}]}
    (folder / "data.json").write_text(json.dumps(content))
    return folder


def test_checking_takes_the_right_bit_depth(twelve_bits: Path) -> None:
    coco = twelve_bits / "data.json"
    assert "% of the scale" in run(check_data, coco, "--images", twelve_bits).stderr  # 1,800 of 65,536 levels
    said = run(check_data, coco, coco, "--images", twelve_bits, "--bit-depth", 12)
    assert "% of the scale" not in said.stderr
    said = run(check_data, coco, "--images", twelve_bits, "--bit-depth", 8)
    assert said.exit_code == 1
    assert "2 unreadable image (error)" in said.output  # 2,000 is more than 8 bits hold


def test_patches_take_the_right_bit_depth(twelve_bits: Path, tmp_path: Path) -> None:
    means = []
    for extra in ((), ("--bit-depth", 12)):
        out = tmp_path / f"{len(extra)}.npz"
        result = run(make_patches, twelve_bits / "data.json", "--out", out, "--per-image", 4, *extra)
        assert result.exit_code == 0, result.output
        means.append(read_patches(out).floats(slice(None)).mean())
    assert means[0] == pytest.approx(2000 / 65535, rel=0.05)
    assert means[1] == pytest.approx(2000 / 4095, rel=0.05)


@pytest.mark.slow
def test_evaluation_takes_the_right_bit_depth(trained: tuple[Path, Result], twelve_bits: Path, tmp_path: Path) -> None:
    folder, _ = trained
    command = ("--run", folder, "--data", twelve_bits / "data.json", "--out")
    said = run(evaluate, *command, tmp_path / "a")
    assert "of 65535" in said.stderr
    said = run(evaluate, *command, tmp_path / "b", "--bit-depth", 12)
    assert said.exit_code == 0
    assert "of 65535" not in said.stderr
