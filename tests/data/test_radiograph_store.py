"""What all training data sets hold: file names are confined, radiographs checked, read, windowed and kept."""

from pathlib import Path

import numpy as np
import pytest

from data.boxes import MIN_BOX_SIDE, clip_box, has_area, trim_bbox
from data.coco import CocoDataset
from data.coco_check import check_coco
from data.datasets import DetectionDataset
from data.duplicates import find_duplicates
from data.errors import InputError
from data.gray_window import GrayWindow
from data.image_paths import ANYWHERE, existing_image, image_path
from data.montage import write_montage
from data.radiograph import read_radiograph, write_radiograph
from data.radiograph_store import RadiographStore, compact, restore
from data.streams import stream


def record(name: str, identity: int = 4) -> dict:
    return {"id": identity, "file_name": name, "width": 6, "height": 5}


def dataset(*names: str, crowds: tuple[int, ...] = ()) -> CocoDataset:
    images = [record(name, k) for k, name in enumerate(names)]
    boxes = [
        {"id": k, "image_id": k, "category_id": 1, "bbox": [0, 0, 2, 2], "iscrowd": int(k in crowds)}
        for k in range(len(names) - 1)
    ]
    return CocoDataset(images, boxes, [{"id": 1, "name": "defect"}])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for k, name in enumerate("abc"):
        pixels = np.random.default_rng(k).integers(0, 256, (5, 6)) / 255
        write_radiograph(tmp_path / f"images/{name}.png", pixels)
    write_radiograph(tmp_path / "secret.png", np.zeros((5, 6)))
    return tmp_path / "images"


@pytest.mark.parametrize("name", ["../secret.png", "{}/secret.png", "sub/../../secret.png", "/etc/passwd"])
def test_names_stay_in_the_folder_of_images(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = name.format(folder.parent)
    with pytest.raises(InputError, match=r"image 4: file_name .* leads out of the folder of images"):
        image_path(folder, record(name))
    with pytest.raises(InputError, match="leads out"):
        RadiographStore(dataset(name), folder)
    with pytest.raises(InputError, match="leads out"):
        find_duplicates(dataset("a.png"), dataset(name), (folder, folder))
    monkeypatch.setenv(ANYWHERE, "1")
    assert image_path(folder, record(name)).name == Path(name).name


def test_names_that_stay_inside_are_taken_however_they_are_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for root, name in ((folder, "a.png"), (folder, f"{folder}/a.png"), ("/", f"{folder}/a.png"),
                       (folder, "x/../a.png"), (folder.parent, "images/a.png")):  # fmt: skip
        assert existing_image(root, record(name)) == folder / "a.png"
    monkeypatch.chdir(folder)
    assert existing_image("", record("a.png")).resolve() == folder / "a.png"
    (folder / "link.png").symlink_to(folder.parent / "secret.png")  # the user's own link
    assert existing_image(folder, record("link.png")).is_file()


@pytest.mark.parametrize("name", ["none.png", "x" * 300, "a\0.png", "\ud800", "."])
def test_files_that_cannot_be_are_refused(folder: Path, name: str) -> None:
    with pytest.raises(InputError, match="image 4"):
        existing_image(folder, record(name))


def test_checking_names_a_file_outside(folder: Path) -> None:
    path = folder / "d.json"
    path.write_text('{"images": [{"id": 4, "file_name": "../secret.png", "width": 6, "height": 5}], '
                    '"annotations": [], "categories": []}')  # fmt: skip
    (issue,) = check_coco(path, folder)
    assert (issue.severity, issue.image_id, "leads out" in issue.message) == ("error", 4, True)


def test_negatives_are_left_out_on_demand(folder: Path) -> None:
    data = dataset("a.png", "b.png", "c.png", crowds=(1,))
    assert [image["id"] for image in RadiographStore(data, folder).images] == [0, 1, 2]
    assert [image["id"] for image in RadiographStore(data, folder, keep_negatives=False).images] == [0]


@pytest.mark.parametrize("window", [None, GrayWindow("percentiles", 10, 90)])
def test_kept_radiographs_are_those_of_the_files(folder: Path, window: GrayWindow | None) -> None:
    stores = [RadiographStore(dataset("a.png", "b.png"), folder, window) for _ in range(2)]
    stores[1].keep_all()
    before = stores[0].pixels(1), *stores[0].levels(1)
    assert before[2] == stores[0].read(1).full_scale
    assert before[2] == 255 if window is None else before[2] < 255  # whole levels between the percentiles
    (folder / "b.png").unlink()
    assert np.array_equal(stores[1].pixels(1), before[0])
    assert np.array_equal(stores[1].levels(1)[0], before[1])
    assert stores[1].levels(1)[0].dtype == np.uint8


def test_values_between_gray_levels_are_kept_as_they_are() -> None:
    pixels = np.array([[0.1, 0.5]], np.float32)
    assert compact(pixels, 8)[1] == 1
    assert np.array_equal(restore(*compact(pixels, 8)), pixels)
    assert compact(np.array([[3, 4095]], np.float32) / np.float32(4095), 12)[1] == 4095


def test_the_smallest_box() -> None:
    least = MIN_BOX_SIDE * 1.001
    assert has_area(clip_box([3, 3, least, 5], 10, 10))
    assert not has_area(clip_box([3, 3, 0.0099, 5], 10, 10))
    assert not has_area(clip_box([9.995, 3, 4, 5], 10, 10))  # as much as lies inside counts
    assert has_area(np.array([[0, 0, 1, 1], [0, 0, np.nan, 1], [2, 0, 1, 1]])).tolist() == [True, False, False]
    assert trim_bbox([-1, 2, 4, 9], 10, 10) == [0, 2, 3, 8]
    assert trim_bbox([7, 2, 4, 5], 10, 10) == [7, 2, 3, 5]
    assert clip_box([-1, 8, 20, 9], 10, 12).tolist() == [0, 8, 10, 12]
    assert clip_box([2, -3, 4, 9], 10, 12).tolist() == [2, 0, 6, 6]


def test_streams_differ_by_purpose_and_number_and_stay_what_they_are() -> None:
    drawn = {
        (name, ids): int(stream(5, name, *ids).integers(10**9))  # type: ignore[arg-type]
        for name, ids in (("sample", (0, 1)), ("sample", (1, 0)), ("region", (1,)), ("region", (2,)),
                          ("simulated radiograph", (0, 1, 0)), ("simulated radiograph", (0, 1, 1)))
    }  # fmt: skip
    assert len(set(drawn.values())) == 6
    assert drawn["sample", (0, 1)] == np.random.default_rng([5, 0, 1]).integers(10**9)
    assert drawn["region", (2,)] == np.random.default_rng([5, 2**32 - 1, 2]).integers(10**9)


def test_a_radiograph_that_uses_a_sliver_of_its_scale_is_seen_through_a_window(tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(255, 387, (40, 50))
    write_radiograph(tmp_path / "dark.png", levels / 65535, 16)
    data = CocoDataset([{"id": 1, "file_name": "dark.png", "width": 50, "height": 40}], [],
                       [{"id": 1, "name": "defect"}])  # fmt: skip
    dark, seen = RadiographStore(data, tmp_path), RadiographStore(data, tmp_path, GrayWindow())
    assert np.ptp(dark.pixels(0)) < 0.01
    assert np.ptp(seen.pixels(0)) > 0.5
    kept, full = seen.levels(0)
    assert full == seen.read(0).full_scale < 1000  # still whole gray levels, and small in memory
    assert kept.dtype.kind == "u"
    assert np.array_equal(restore(kept, full), seen.pixels(0))
    assert np.array_equal(DetectionDataset(data, tmp_path, window=GrayWindow(), cache=True)[0][0][0], seen.pixels(0))
    write_montage(tmp_path / "montage.png", data, tmp_path, cell_width=50)
    assert np.ptp(read_radiograph(tmp_path / "montage.png").pixels[30:60, 10:50]) > 0.4
