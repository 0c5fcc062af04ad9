"""GDXray's layout to COCO, on hand-made folders."""

from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from data.errors import InputError
from data.gdxray import read_gdxray, read_gdxray_summary, read_unlabeled
from data.radiograph import write_radiograph


def write_series(root: Path, name: str, count: int, rows: str | None = None, size: tuple[int, int] = (30, 40)) -> Path:
    """Write a series of `count` gray radiographs [H, W] = `size` and its ground truth; return its folder."""
    folder = root / {"C": "Castings", "W": "Welds"}[name[0]] / name
    for number in range(1, count + 1):
        write_radiograph(folder / f"{name}_{number:04d}.png", np.full(size, 0.5))
    if rows is not None:
        (folder / "ground_truth.txt").write_text(rows)
    return folder


def test_columns_are_x1_x2_y1_y2(tmp_path: Path) -> None:
    write_series(tmp_path, "C0001", 2, "   2.0000000e+00   1.05e+01   1.45e+01   3.0000000e+00   9.0e+00\n\n")
    write_series(tmp_path, "C0003", 1)
    dataset, summaries = read_gdxray_summary(tmp_path, "castings")
    assert dataset.images == [
        {"id": k, "file_name": f"Castings/{series}/{series}_000{number}.png", "width": 40, "height": 30,
         "series": series, "number": number}
        for k, series, number in ((1, "C0001", 1), (2, "C0001", 2), (3, "C0003", 1))
    ]  # fmt: skip
    assert dataset.annotations == [
        {"id": 1, "image_id": 2, "category_id": 1, "bbox": [10.5, 3, 4, 6], "area": 24, "iscrowd": 0}
    ]
    assert [(s.series, s.source, s.radiographs, s.without_defects, s.boxes) for s in summaries] == [
        ("C0001", "boxes", 2, 1, 1), ("C0003", "none", 1, 1, 0),
    ]  # fmt: skip


def test_swapped_clipped_dropped_and_points(tmp_path: Path) -> None:
    write_series(tmp_path, "C0001", 1, "1 14 10 3 9\n1 35 44 -2 5\n1 41 50 3 9\n1 7 8\n1 5 5 3 9\n")
    dataset, (summary,) = read_gdxray_summary(tmp_path, "castings")
    assert [a["bbox"] for a in dataset.annotations] == [[10, 3, 4, 6], [35, 0, 5, 5]]
    assert [a["id"] for a in dataset.annotations] == [1, 2]
    assert (summary.swapped, summary.clipped, summary.dropped, summary.points) == (1, 1, 2, 1)
    assert dataset.images[0]["points"] == [[7, 8]]


def test_oriented_box_keeps_its_corners(tmp_path: Path) -> None:
    write_series(tmp_path, "C0001", 1, "1 10 5 15 10 10 15 5 10\n")
    (annotation,) = read_gdxray(tmp_path, "castings").annotations
    assert annotation["bbox"] == [5, 5, 10, 10]
    assert annotation["segmentation"] == [[10, 5, 15, 10, 10, 15, 5, 10]]
    assert annotation["area"] == 50  # a square on its tip: half of its hull


@pytest.mark.parametrize(("row", "problem"), [
    ("1 2 3 4", "line 2: '1 2 3 4' is not"), ("1 2 NaN 4 5", "line 2: '1 2 NaN 4 5' is not"),
    ("1 2 x 4 5", "line 2: '1 2 x 4 5' is not"), ("9 2 3 4 5", r"line 2: no radiograph C0001_0009\.png"),
    ("1.5 2 3 4 5", r"line 2: image_id 1\.5"),
])  # fmt: skip
def test_bad_rows_are_named(tmp_path: Path, row: str, problem: str) -> None:
    write_series(tmp_path, "C0001", 1, f"1 10 14 3 9\n{row}\n")
    with pytest.raises(InputError, match=rf"ground_truth\.txt, {problem}"):
        read_gdxray(tmp_path, "castings")


def test_missing_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Castings: no such folder"):
        read_gdxray(tmp_path, "castings")
    (tmp_path / "Castings/C0001").mkdir(parents=True)
    with pytest.raises(InputError, match=r"C0001: no radiographs"):
        read_gdxray(tmp_path, "castings")


@pytest.fixture
def welds(tmp_path: Path) -> Path:
    """Two welds with boxes and masks: the first mask holds two parts joined at a corner, and one alone."""
    write_series(tmp_path, "W0001", 2, "1 4 9 4 9\n")
    write_series(tmp_path, "W0003", 3)
    mask = np.zeros((30, 40))
    mask[2:4, 5:8] = 1
    mask[4:6, 8:10] = 1
    mask[20, 30] = 1
    write_radiograph(tmp_path / "Welds/W0002/W0002_0001.png", mask)
    write_radiograph(tmp_path / "Welds/W0002/W0002_0002.png", np.zeros((30, 40)))
    return tmp_path


def test_weld_masks_become_components(welds: Path) -> None:
    dataset, (summary,) = read_gdxray_summary(welds, "welds")
    assert {image["series"] for image in dataset.images} == {"W0001"}
    assert [a["bbox"] for a in dataset.annotations] == [[5, 2, 5, 4], [30, 20, 1, 1]]
    assert [a["area"] for a in dataset.annotations] == [10, 1]
    whole = sum(coco_mask.decode(a["segmentation"]) for a in dataset.annotations)
    assert whole[2:4, 5:8].all()
    assert whole.sum() == 11
    for annotation in dataset.annotations:
        assert coco_mask.toBbox(annotation["segmentation"]).tolist() == annotation["bbox"]
    assert (summary.source, summary.boxes, summary.without_defects) == ("masks", 2, 1)


def test_weld_boxes_instead_and_the_unlabeled_alone(welds: Path) -> None:
    assert [a["bbox"] for a in read_gdxray(welds, "welds", weld_boxes=True).annotations] == [[4, 4, 5, 5]]
    assert [image["series"] for image in read_unlabeled(welds).images] == ["W0003"] * 3


def test_weld_masks_must_fit(welds: Path) -> None:
    write_radiograph(welds / "Welds/W0002/W0002_0002.png", np.zeros((30, 41)))
    with pytest.raises(InputError, match=r"W0002_0002\.png: the mask is 41 x 30"):
        read_gdxray(welds, "welds")
    (welds / "Welds/W0002/W0002_0002.png").unlink()
    with pytest.raises(InputError, match=r"W0002_0002\.png: no such file"):
        read_gdxray(welds, "welds")


@pytest.mark.parametrize("corners", ["10 5 15 10 10 15 5 10", "10 5 10 15 15 10 5 10", "5 10 15 10 10 5 10 15"])
def test_corners_of_an_oriented_box_come_in_any_order(tmp_path: Path, corners: str) -> None:
    write_series(tmp_path, "C0001", 1, f"1 {corners}\n1 10 5 20 5 10 15 20 15\n")
    tip, square = read_gdxray(tmp_path, "castings").annotations
    assert (tip["bbox"], tip["area"]) == ([5, 5, 10, 10], 50)
    assert (square["bbox"], square["area"]) == ([10, 5, 10, 10], 100)
    xs, ys = np.array(square["segmentation"][0]).reshape(4, 2).T
    assert (np.hypot(xs - np.roll(xs, 1), ys - np.roll(ys, 1)) == 10).all()  # sides, no diagonals


def test_oriented_boxes_keep_their_area_when_clipped(tmp_path: Path) -> None:
    write_series(tmp_path, "C0001", 1, "1 -5 0 5 0 5 10 -5 10\n")
    dataset, (summary,) = read_gdxray_summary(tmp_path, "castings")
    assert (dataset.annotations[0]["bbox"], dataset.annotations[0]["area"], summary.clipped) == ([0, 0, 5, 10], 50, 1)


def test_slivers_that_no_training_takes_are_dropped_and_counted(tmp_path: Path) -> None:
    write_series(tmp_path, "C0001", 1, "1 39.995 50 3 9\n1 3 3.02 3 9\n")
    dataset, (summary,) = read_gdxray_summary(tmp_path, "castings")
    assert ([a["bbox"][0] for a in dataset.annotations], summary.dropped) == ([3], 1)


def test_two_files_of_one_number_are_refused(tmp_path: Path) -> None:
    folder = write_series(tmp_path, "C0001", 2)
    (folder / "C0001_0002.png").rename(folder / "C0001_1.png")
    with pytest.raises(InputError, match=r"C0001_1\.png: radiograph 1 of C0001, as C0001_0001\.png is"):
        read_gdxray(tmp_path, "castings")


def test_case_and_links_lose_nothing(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "there", "C0001", 2, "2 3 9 3 9\n")
    (folder / "C0001_0002.png").rename(folder / "C0001_0002.PNG")
    (folder / "ground_truth.txt").rename(folder / "Ground_Truth.TXT")
    (tmp_path / "Castings").mkdir()
    (tmp_path / "Castings/C0001").symlink_to(folder)
    dataset = read_gdxray(tmp_path, "castings")
    assert [image["file_name"] for image in dataset.images] == [
        "Castings/C0001/C0001_0001.png", "Castings/C0001/C0001_0002.PNG"
    ]  # fmt: skip
    assert [a["image_id"] for a in dataset.annotations] == [2]
    (folder / "ground_truth.txt").write_text("1 3 9 3 9\n")
    with pytest.raises(InputError, match=r"annotations of C0001, as Ground_Truth\.TXT are"):
        read_gdxray(tmp_path, "castings")


@pytest.mark.parametrize("word", ["1_0", "\u0661", "infinity", "1e400", "0x1", "1e"])
def test_words_that_are_no_decimal_numbers_are_refused(tmp_path: Path, word: str) -> None:
    write_series(tmp_path, "C0001", 1, f"1 2 {word} 4 5\n")
    with pytest.raises(InputError, match="line 1"):
        read_gdxray(tmp_path, "castings")
