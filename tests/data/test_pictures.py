"""Pictures to look at: captions, grids, and files that are known as the toolkit's own."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from data.coco import CocoDataset
from data.drawing import as_rgb
from data.errors import InputError
from data.montage import write_montage, write_patch_sheet
from data.pictures import CAPTION_HEIGHT, GAP, PAPER, captioned, grid, is_own_picture, write_picture
from data.radiograph import find_radiographs, read_radiograph, write_radiograph


def one_image(folder: Path, name: str, pixels: np.ndarray) -> CocoDataset:
    write_radiograph(folder / name, pixels)
    image = {"id": 1, "file_name": name, "width": pixels.shape[1], "height": pixels.shape[0]}
    return CocoDataset([image], [], [{"id": 1, "name": "defect"}])


def test_a_grid_holds_pictures_of_several_sizes() -> None:
    cells = [np.full((2, 3, 3), 1, np.uint8), np.full((4, 5, 3), 2, np.uint8), np.full((1, 1, 3), 3, np.uint8)]
    sheet = grid(cells, 2)
    assert sheet.shape == (4 + 1 + 3 * GAP, 2 * (5 + GAP) + GAP, 3)
    assert [int((sheet == k).sum()) for k in (1, 2, 3)] == [18, 60, 3]
    assert (sheet[GAP : GAP + 2, GAP : GAP + 3] == 1).all()
    assert (sheet[2 * GAP + 4, GAP] == 3).all()
    assert int((sheet == PAPER).sum()) == sheet.size - 81


def test_a_caption_lies_above_its_picture() -> None:
    picture = np.full((9, 60, 3), 7, np.uint8)
    shown = captioned(picture, "abc")
    assert shown.shape == (9 + CAPTION_HEIGHT, 60, 3)
    assert (shown[CAPTION_HEIGHT:] == 7).all()
    assert (shown[:CAPTION_HEIGHT] < 100).any()


def test_gray_becomes_rgb() -> None:
    assert as_rgb(np.array([[0, 0.5, 2]])).tolist() == [[[0] * 3, [128] * 3, [255] * 3]]
    with pytest.raises(ValueError, match="uint8"):
        as_rgb(np.zeros((3, 3, 4)))


@pytest.mark.parametrize(
    "picture",
    [
        np.arange(60, dtype=np.uint8).reshape(4, 5, 3),
        np.arange(20, dtype=np.uint8).reshape(4, 5),
        np.arange(0, 60000, 3000, dtype=np.uint16).reshape(4, 5),
    ],
)
def test_pictures_come_back_as_they_were_and_are_known(tmp_path: Path, picture: np.ndarray) -> None:
    write_picture(tmp_path / "a.png", picture)
    back = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(back if back.ndim == 2 else back[..., ::-1], picture)
    assert is_own_picture(tmp_path / "a.png")
    write_radiograph(tmp_path / "b.png", np.zeros((4, 5)))
    assert not is_own_picture(tmp_path / "b.png")


def test_own_pictures_do_not_stop_a_folder_of_radiographs(tmp_path: Path) -> None:
    dataset = one_image(tmp_path, "scene.png", np.random.default_rng(0).random((30, 40), np.float32))
    boxed = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, 9, 9]}]
    dataset.annotations += boxed
    write_montage(tmp_path / "montage.png", dataset, tmp_path)
    write_patch_sheet(tmp_path / "sheet.png", np.zeros((2, 8, 8)), ["a", "b"])
    write_picture(tmp_path / "heat_maps" / "scene.png", np.zeros((30, 40), np.uint16))
    assert find_radiographs([tmp_path]) == [tmp_path / "scene.png"]
    with pytest.raises(InputError, match="color"):
        read_radiograph(find_radiographs([tmp_path / "montage.png"])[0])  # asked for by name
    (tmp_path / "scene.png").unlink()
    with pytest.raises(InputError, match="no radiographs"):
        find_radiographs([tmp_path])


def test_a_very_high_radiograph_makes_no_huge_montage(tmp_path: Path) -> None:
    dataset = one_image(tmp_path, "film.png", np.random.default_rng(0).random((20000, 20), np.float32))
    write_montage(tmp_path / "montage.png", dataset, tmp_path)
    height, width = cv2.imread(str(tmp_path / "montage.png")).shape[:2]
    assert (height, width) == (1600 + CAPTION_HEIGHT + 2 * GAP, 400 + 2 * GAP)
