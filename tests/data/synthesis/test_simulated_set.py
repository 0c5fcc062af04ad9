"""Sets of simulated radiographs on disk: where they are written, what is checked first, a second start."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from dicom_files import write_dark_dicom

from data.coco import CocoDataset, read_coco
from data.datasets import DetectionDataset
from data.defect_free import read_defect_free
from data.errors import InputError
from data.gray_window import AUTO, GrayWindow
from data.radiograph import read_radiograph, write_radiograph
from data.synthesis.simulated_set import write_simulated
from data.synthesis.simulation_config import SimulationConfig

CATEGORIES = [{"id": 1, "name": "defect"}]
CONFIG = SimulationConfig(semi_axis={"low": 3, "high": 5})


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def write_parts(folder: Path, names: tuple[str, ...] = ("a.png", "b.png")) -> None:
    rng = np.random.default_rng(0)
    for name in names:
        write_radiograph(folder / name, 0.4 + rng.normal(0, 0.004, (70, 90)), 8)


def coco(*names: str, **extra: object) -> CocoDataset:
    images = [{"id": k, "file_name": name, "width": 90, "height": 70, **extra} for k, name in enumerate(names, start=1)]
    return CocoDataset(images, [], CATEGORIES)


def test_names_that_lead_out_of_the_folder_of_images_are_refused_and_change_nothing(tmp_path: Path) -> None:
    write_parts(tmp_path / "images")
    (tmp_path / "labels").mkdir()
    before = contents(tmp_path)
    for name in ("../images/a.png", str(tmp_path / "images/a.png"), "x/../../images/a.png"):
        with pytest.raises(InputError, match=r"image 1: .*leads out"):
            write_simulated(coco(name), tmp_path / "labels", tmp_path / "out", CONFIG, 1)
    assert contents(tmp_path) == before


def test_names_that_may_be_read_anywhere_are_still_not_written_anywhere(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("RADIOGRAPH_IMAGES_ANYWHERE", "1")
    write_parts(tmp_path / "images")
    before = contents(tmp_path)
    # Below the output folder's parent these would lie on the radiograph that is read, and on no file at all.
    for image_dir in (tmp_path / "labels", tmp_path / "deep/labels"):
        name = os.path.relpath(tmp_path / "images/a.png", image_dir)
        with pytest.raises(InputError, match="leads out of the output folder"):
            write_simulated(coco(name), image_dir, tmp_path / "deeper/out", CONFIG, 1)
    assert contents(tmp_path) == before


def test_absolute_names_inside_the_folder_of_images_are_written_below_the_output_folder(tmp_path: Path) -> None:
    write_parts(tmp_path / "images/deep")
    before = contents(tmp_path / "images")
    written = read_coco(
        write_simulated(coco(str(tmp_path / "images/deep/a.png")), tmp_path / "images", tmp_path / "out", CONFIG, 1)
    )
    assert [image["file_name"] for image in written.images] == ["deep/a.png"]
    assert (tmp_path / "out/deep/a.png").is_file()
    assert contents(tmp_path / "images") == before


def test_a_link_in_the_output_folder_is_not_followed(tmp_path: Path) -> None:
    write_parts(tmp_path / "images/sub")
    before = contents(tmp_path / "images")
    arguments = (coco("sub/a.png"), tmp_path / "images", tmp_path / "out", CONFIG, 1)
    write_simulated(*arguments).unlink()  # as if interrupted
    for file in (tmp_path / "out/sub").iterdir():
        file.unlink()
    (tmp_path / "out/sub").rmdir()
    (tmp_path / "out/sub").symlink_to(tmp_path / "images/sub")
    with pytest.raises(InputError, match="leads out of the output folder"):
        write_simulated(*arguments)
    assert contents(tmp_path / "images") == before


def test_the_sets_own_picture_is_not_overwritten_by_a_radiograph_of_its_name(tmp_path: Path) -> None:
    write_parts(tmp_path / "images", ("before_after.png",))
    with pytest.raises(InputError, match="own file is written as before_after"):
        write_simulated(coco("before_after.png"), tmp_path / "images", tmp_path / "out", CONFIG, 1)


def test_two_radiographs_of_one_output_name_are_refused(tmp_path: Path) -> None:
    write_parts(tmp_path, ("a.png",))
    with pytest.raises(InputError, match=r"image 2.*image 1 is written as a.png already"):
        write_simulated(coco("a.png", "./a.png"), tmp_path, tmp_path / "out", CONFIG, 1)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (coco("a.png", pixel_size_mm=float("nan")), "image 1: .*JSON"),
        (replace(coco("a.png"), info={"note": float("inf")}), "info: .*JSON"),
        (replace(coco("a.png"), extra={"licenses": {1, 2}}), "key: .*JSON"),
        (replace(coco("a.png"), annotations=[{"id": 4, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5],
                                              "score": float("nan")}]), "annotation 4: .*JSON"),
        (coco("a.png", width=91), "image 1 has 90 x 70 pixels"),
        (coco("a.png", "gone.png"), "gone.png: no such file"),
        (replace(coco("a.png"), categories=[]), "no category"),
    ],
)  # fmt: skip
def test_what_can_be_seen_beforehand_is_refused_before_anything_is_written(tmp_path: Path, dataset, message) -> None:
    write_parts(tmp_path / "images")
    with pytest.raises(InputError, match=message):
        write_simulated(dataset, tmp_path / "images", tmp_path / "out", CONFIG, 1)
    assert not (tmp_path / "out").exists()


def test_after_a_torn_file_is_replaced_a_second_start_writes_the_set(tmp_path: Path) -> None:
    write_parts(tmp_path / "images")
    whole = (tmp_path / "images/b.png").read_bytes()
    (tmp_path / "images/b.png").write_bytes(whole[:-60])
    arguments = (coco("a.png", "b.png"), tmp_path / "images", tmp_path / "out", CONFIG, 2)
    with pytest.raises(InputError, match=r"b\.png"):
        write_simulated(*arguments)
    assert not (tmp_path / "out/annotations.json").exists()
    (tmp_path / "images/b.png").write_bytes(whole)
    write_simulated(*arguments)
    write_simulated(*arguments[:2], tmp_path / "fresh", *arguments[3:])
    assert contents(tmp_path / "out").keys() == contents(tmp_path / "fresh").keys()
    for name in ("a.png", "b.png", "before_after.png"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes()


def test_a_whole_set_is_kept_one_that_lost_a_file_redone_and_other_arguments_refused(tmp_path: Path) -> None:
    write_parts(tmp_path / "images")
    arguments = (coco("a.png", "b.png"), tmp_path / "images", tmp_path / "out", CONFIG, 2)
    annotations = write_simulated(*arguments)
    before, stamp = contents(tmp_path / "out"), annotations.stat().st_mtime_ns
    assert write_simulated(*arguments) == annotations
    assert annotations.stat().st_mtime_ns == stamp
    (tmp_path / "out/a.png").unlink()
    (tmp_path / "out/.b-abcd_fg8.png").write_bytes(b"half a file that a killed process left")
    write_simulated(*arguments)
    assert contents(tmp_path / "out") == before
    annotations.write_text('{"images": [')  # a disk that lost its power
    write_simulated(*arguments)
    assert contents(tmp_path / "out") == before
    for other in ({"per_image": 3}, {"seed": 1}, {"config": CONFIG.model_copy(update={"polarity": "darker"})}):
        call = dict(zip(("dataset", "image_dir", "out", "config", "per_image"), arguments, strict=True)) | other
        with pytest.raises(InputError, match="other arguments"):
            write_simulated(**call)
    assert contents(tmp_path / "out") == before


def test_radiographs_that_changed_are_simulated_again(tmp_path: Path) -> None:
    write_parts(tmp_path / "images", ("a.png",))
    arguments = (coco("a.png"), tmp_path / "images", tmp_path / "out", CONFIG, 1)
    write_simulated(*arguments)
    write_radiograph(tmp_path / "images/a.png", np.full((70, 90), 0.7, np.float32), 8)
    write_simulated(*arguments)
    assert np.median(read_radiograph(tmp_path / "out/a.png").pixels) == pytest.approx(0.7, abs=0.01)


def test_a_folder_that_holds_its_own_output_is_simulated_once(tmp_path: Path) -> None:
    write_parts(tmp_path)
    for _ in range(2):  # the second start finds what the first wrote among the radiographs
        written = write_simulated(read_defect_free(tmp_path), tmp_path, tmp_path / "out", CONFIG, 1)
        assert [image["file_name"] for image in read_coco(written).images] == ["a.png", "b.png"]
    assert not (tmp_path / "out/out").exists()


def test_a_radiograph_in_the_output_folder_is_never_read_and_written_at_once(tmp_path: Path) -> None:
    write_parts(tmp_path / "out")
    before = contents(tmp_path)
    with pytest.raises(InputError, match="lies in the output folder"):
        write_simulated(coco("out/a.png"), tmp_path, tmp_path / "out", CONFIG, 1)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("tags", [{}, {"VOILUTFunction": "SIGMOID"}])
@pytest.mark.parametrize("name", ["a.dcm", "a.png"])
def test_the_window_of_a_dicom_header_goes_with_the_simulated_film(tmp_path: Path, name: str, tags: dict) -> None:
    (tmp_path / "in").mkdir()
    write_dark_dicom(tmp_path / "in" / name, **tags)
    images = [{"id": 1, "file_name": name, "width": 160, "height": 120}]
    annotations = write_simulated(CocoDataset(images, [], CATEGORIES), tmp_path / "in", tmp_path / "out", CONFIG, 2)
    (image,) = read_coco(annotations).images
    assert image["file_name"] == f"{name}.tif"
    before, after = read_radiograph(tmp_path / "in" / name), read_radiograph(tmp_path / "out" / image["file_name"])
    assert (before.levels != after.levels).any()
    for levels in (before.levels, after.levels):  # shown the same way
        one, other = (AUTO.fit(levels, 16, radiograph.file_window) for radiograph in (before, after))
        assert one.source == other.source == "file"
        assert np.array_equal(one(levels), other(levels))
    assert before.file_window is not None
    assert after.file_window is not None
    assert after.file_window.name == before.file_window.name


def test_a_depth_that_a_png_cannot_hold_is_written_as_a_tiff(tmp_path: Path) -> None:
    levels = np.random.default_rng(0).normal(2000, 12, (70, 90)).round()
    write_radiograph(tmp_path / "in/a.png", levels / 65535, 16)
    annotations = write_simulated(coco("a.png"), tmp_path / "in", tmp_path / "out", CONFIG, 1, bit_depth=12)
    (image,) = read_coco(annotations).images
    assert image["file_name"] == "a.png.tif"
    after = read_radiograph(tmp_path / "out" / image["file_name"])
    assert after.bit_depth == 12
    assert (after.levels == levels).mean() > 0.5


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_simulated_samples_of_inverted_radiographs_lie_on_whole_gray_levels_too(tmp_path: Path, photometric) -> None:
    values = np.rint(np.random.default_rng(0).normal(2000, 12, (70, 90))).astype(np.uint16)
    depth = [("MaxSampleValue", "H", 1, 4095, True)]
    tifffile.imwrite(tmp_path / "a.tif", values, photometric=photometric, extratags=depth)
    dataset = coco("a.tif")
    written = read_radiograph(write_simulated(dataset, tmp_path, tmp_path / "out", CONFIG, 3).parent / "a.tif")
    trained = DetectionDataset(dataset, tmp_path, simulation=CONFIG.model_copy(update={"per_image": (3, 3)}))[0]
    assert written.bit_depth == 12
    for pixels in (written.pixels, trained[0][0].numpy()):
        levels = pixels.astype(np.float64) * 4095
        assert np.abs(levels - np.rint(levels)).max() < 1e-3
        assert (np.rint(levels) != np.rint(read_radiograph(tmp_path / "a.tif").pixels * 4095)).any()


def test_behind_a_window_a_dark_film_gets_the_defects_of_a_bright_one(tmp_path: Path) -> None:
    bright = np.clip(np.rint(np.random.default_rng(0).normal(60, 3, (70, 90))), 1, 118)
    dark = 255 + bright
    dark[5:12, 5:20] = 65535  # a burnt-in caption
    window = GrayWindow("levels", 255, 255 + 120)
    (tmp_path / "in").mkdir()
    write_radiograph(tmp_path / "in/a.tif", dark / 65535, 16)
    config = SimulationConfig(shapes="varied")
    annotations = write_simulated(coco("a.tif"), tmp_path / "in", tmp_path / "out", config, 3, 0, None, window)
    after = read_radiograph(tmp_path / "out/a.tif")
    changed = after.levels != dark
    assert changed.any()
    assert (after.levels[~changed] == dark[~changed]).all()  # the caption too, which the window saturates
    assert after.levels[changed].min() >= 255
    assert after.levels[changed].max() <= 375
    for x, y, w, h in (a["bbox"] for a in read_coco(annotations).annotations):  # what is annotated was changed
        assert changed[int(y) : int(y + h), int(x) : int(x + w)].any()
