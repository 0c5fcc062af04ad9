import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from data.coco import CocoDataset, read_coco
from data.errors import InputError
from data.radiograph import write_radiograph
from detectors.backbones.packaged import write_packaged
from detectors.build import build_model
from detectors.config.files import read_config
from detectors.evaluation.matching import find_overlaps
from detectors.evaluation.pod_surface import pod_surface
from detectors.experiments.adaptation import adapt

QUICK = [
    "train.epochs=1", "train.samples_per_epoch=16", "train.batch_size=8", "data.workers=0",
    "data.augmentation.crop.size=96", "data.train.1.phantoms.n=6", "train.device=cpu",
]  # fmt: skip


@pytest.fixture
def start(tmp_path: Path) -> Path:
    config = read_config(
        "center_net", ["model.stem_channels=4", "model.stage_channels=[8,8,8,8]", "model.neck_channels=8"]
    )
    torch.manual_seed(0)
    model = build_model(config.model, 1)
    with torch.no_grad():
        model.heat.bias.fill_(-6)  # it calls nothing by chance
    card = {"config": config.as_dict(), "categories": [{"id": 1, "name": "defect"}], "metrics": {}, "threshold": 0.3}
    write_packaged(tmp_path / "start.safetensors", model.state_dict(), card)
    return tmp_path / "start.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "radiographs"
    folder.mkdir()
    for k in range(6):
        y, x = np.mgrid[: 112 + 16 * (k % 2), :128]  # of mixed sizes
        wall = 90 + 50 * (x > 40 + 5 * k) + 0.2 * y + np.random.default_rng(k).normal(0, 2, x.shape)
        if k in (2, 5):  # a flat panel that uses a sliver of its 16 bits
            write_radiograph(folder / f"{k}.tif", np.round(255 + wall / 2) / 65535, 16)
        else:
            cv2.imwrite(str(folder / f"{k}.png"), np.round(wall).astype(np.uint8))
    return folder


def test_a_folder_without_a_label_gives_a_run_a_threshold_and_a_page(
    start: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = adapt([folder], start, tmp_path / "out", 2.0, QUICK)
    assert (made.run / "best.ckpt").is_file()
    record = json.loads((tmp_path / "out" / "adaptation.json").read_text())
    assert (record["radiographs"], record["held_back"]) == (6, 2)
    assert record["threshold"]["false_calls_per_image"] <= 2
    assert json.loads((made.run / "threshold.json").read_text())["threshold"] == made.threshold
    held = read_coco(tmp_path / "out" / "data" / "held_back.json")
    trained = read_coco(tmp_path / "out" / "data" / "train.json")
    assert not {i["file_name"] for i in held.images} & {i["file_name"] for i in trained.images}
    assert all(annotation["iscrowd"] == 1 for annotation in trained.annotations)
    page = made.page.read_text()
    assert "What this does not say" in page
    assert page.count("data:image/jpeg") == 7  # six radiographs and the plot


def test_what_is_no_folder_of_castings_is_refused_before_anything_is_written(
    start: Path, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    only = tmp_path / "one"
    only.mkdir()
    shutil.copy(folder / "0.png", only / "a.png")
    with pytest.raises(InputError, match="1 different radiographs"):
        adapt([only], start, out)
    for k in range(5):
        shutil.copy(folder / "0.png", only / f"{k}.png")
    with pytest.raises(InputError, match="5 are copies of others"):
        adapt([only], start, out)
    cv2.imwrite(str(folder / "weld.png"), np.full((64, 640), 99, np.uint8))
    with pytest.raises(InputError, match=r"weld.png: 640 x 64 pixels look like a weld film"):
        adapt([folder], start, out)
    (folder / "weld.png").unlink()
    cv2.imwrite(str(folder / "black.png"), np.zeros((128, 128), np.uint8))
    with pytest.raises(InputError, match=r"black.png: no metal"):
        adapt([folder], start, out)
    assert not out.exists()


def test_a_detector_of_another_kind_or_a_full_folder_is_refused(start: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds something"):
        adapt([folder], start, folder)
    with pytest.raises(InputError, match="no such checkpoint"):
        adapt([folder], tmp_path / "missing", tmp_path / "out")
    with pytest.raises(InputError, match="must be 0 or more"):
        adapt([folder], start, tmp_path / "out", -1.0)


def test_the_surface_counts_what_is_found_by_size_and_contrast() -> None:
    images = [{"id": 1, "file_name": "a.png", "width": 100, "height": 100}]
    boxes = {1: ([10, 10, 10, 10], 3.0), 2: ([40, 40, 10, 10], 3.9), 3: ([70, 10, 25, 25], 9.0)}
    annotations = [
        {"id": k, "image_id": 1, "category_id": 1, "bbox": b, "area": b[2] * b[3], "iscrowd": 0, "contrast_to_noise": c}
        for k, (b, c) in boxes.items()
    ]
    annotations.append(
        {"id": 4, "image_id": 1, "category_id": 1, "bbox": [0, 80, 9, 9], "area": 81, "iscrowd": 0}
    )  # not simulated: not counted
    dataset = CocoDataset(images, annotations, [{"id": 1, "name": "defect"}])
    results = [
        {"image_id": 1, "category_id": 1, "bbox": [11, 11, 8, 8], "score": 0.9},
        {"image_id": 1, "category_id": 1, "bbox": [70, 10, 25, 25], "score": 0.4},
    ]
    surface = pod_surface(dataset, find_overlaps(dataset, results).match(criterion="center"), 0.5)
    assert surface.all.sum() == 3
    assert (surface.found[1, 0], surface.all[1, 0]) == (1, 2)
    assert (surface.found[3, 2], surface.all[3, 2]) == (0, 1)
    row = next(r for r in surface.rows() if r["contrast_from"] == 2.0)
    assert row["share"] == 0.5
    assert row["lower"] == pytest.approx(0.0126, abs=1e-3)  # Clopper-Pearson, 1 of 2
