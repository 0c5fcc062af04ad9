"""COCO data: what is read, filled in, refused and merged; all issues at once; images on two sides."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data import duplicates
from data.coco import CocoDataset, merge_coco, read_coco, read_results, write_coco, write_results
from data.coco_check import check_coco
from data.datasets import DetectionDataset
from data.drawing import draw_boxes
from data.duplicates import Fingerprints, check_files, compare, find_duplicates
from data.errors import InputError
from data.montage import CAPTION_HEIGHT, GAP, write_montage
from data.radiograph import radiograph_size, read_radiograph, write_radiograph

CONTENT: dict[str, Any] = {
    "info": {"year": 2020}, "licenses": [{"id": 1}],
    "images": [
        {"id": 7, "file_name": "a.png", "width": 40, "height": 30, "station": "north"},
        {"id": 3, "file_name": "b.png", "width": 40, "height": 30},
    ],
    "annotations": [
        {"id": 11, "image_id": 7, "category_id": 90, "bbox": [1, 2, 10.5, 4]},
        {"id": 5, "image_id": 7, "category_id": 4, "bbox": [0, 0, 40, 30], "area": 600, "iscrowd": 1,
         "segmentation": [[0, 0, 40, 0, 0, 30]], "grade": "B"},
    ],
    "categories": [{"id": 90, "name": "crack"}, {"id": 4, "name": "pore"}],
}  # fmt: skip


@pytest.fixture
def content() -> dict[str, Any]:
    return copy.deepcopy(CONTENT)


def written(folder: Path, content: Any, name: str = "d.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(content))
    return path


def test_margin_grows_boxes_inside_the_image(tmp_path: Path, content: dict) -> None:
    dataset = read_coco(written(tmp_path, content))
    grown = dataset.with_margin(2.5)
    assert [a["bbox"] for a in grown.annotations] == [[0, 0, 14, 8.5], [0, 0, 40, 30]]
    assert grown.annotations_of(7)[0]["area"] == 42
    assert dataset.annotations_of(7)[0]["bbox"] == [1, 2, 10.5, 4]


def test_reading_fills_in_and_keeps(tmp_path: Path, content: dict) -> None:
    dataset = read_coco(written(tmp_path, content))
    assert [a["id"] for a in dataset.annotations_of(7)] == [11, 5]
    assert dataset.annotations_of(3) == []
    assert (dataset.annotations[0]["area"], dataset.annotations[0]["iscrowd"]) == (42, 0)
    assert dataset.annotations[1] == CONTENT["annotations"][1]
    assert dataset.images[0]["station"] == "north"
    assert dataset.label_of == {4: 1, 90: 2}
    assert dataset.class_names == ["pore", "crack"]
    write_coco(tmp_path / "again.json", dataset)
    again = json.loads((tmp_path / "again.json").read_text())
    assert again["licenses"] == [{"id": 1}]
    assert again["images"] == CONTENT["images"]


def test_rounding_over_the_frame_is_trimmed(tmp_path: Path, content: dict) -> None:
    content["annotations"][0]["bbox"] = [-0.004, 5, 40.008, 25.002]
    x, y, w, h = read_coco(written(tmp_path, content)).annotations[0]["bbox"]
    assert (x, y, x + w, y + h) == (0, 5, 40, 30)


def test_subset(tmp_path: Path, content: dict) -> None:
    dataset = read_coco(written(tmp_path, content))
    assert [len(dataset.subset([k]).annotations) for k in (7, 3)] == [2, 0]
    with pytest.raises(InputError, match="id 99"):
        dataset.subset([3, 99])


# A change of the content, and the fault's kind.
FAULTS = {
    "missing key": lambda c: c["annotations"][0].pop("bbox"),
    "missing key, id of an image": lambda c: c["images"][0].pop("id"),
    "missing key, file of an image": lambda c: c["images"][0].pop("file_name"),
    "bad id": lambda c: c["images"][1].update(id="3"),
    "duplicate id": lambda c: c["annotations"][1].update(id=11),
    "dangling id": lambda c: c["annotations"][0].update(image_id=8),
    "bad box, huge": lambda c: c["annotations"][0].update(bbox=[10**400, 2, 3, 4]),
    "no area": lambda c: c["annotations"][0].update(bbox=[1, 2, 0, 4]),
    "no area, as good as": lambda c: c["annotations"][0].update(bbox=[1, 2, 0.005, 4]),
    "no area, inside": lambda c: c["annotations"][0].update(bbox=[39.995, 2, 0.012, 4]),
    "no area, without a size": lambda c: (
        c["images"][0].pop("width"),
        c["annotations"][0].update(bbox=[1, 2, 0.005, 4]),
    ),
    "bad value, area": lambda c: c["annotations"][0].update(area=-1),
    "bad value, area of nothing": lambda c: c["annotations"][0].update(area=None),
    "bad value, infinite area": lambda c: c["annotations"][0].update(area=float("inf")),
    "bad value, iscrowd": lambda c: c["annotations"][0].update(iscrowd=2),
    "bad value, iscrowd of text": lambda c: c["annotations"][0].update(iscrowd="1"),
    "bad mask, not finite": lambda c: c["annotations"][1].update(segmentation=[[0, 0, 40, 0, 0, float("nan")]]),
    "bad mask, of two points": lambda c: c["annotations"][1].update(segmentation=[[0, 0, 40, 0]]),
    "outside, by a sliver": lambda c: c["annotations"][0].update(bbox=[40, 2, 0.005, 4]),
    "outside": lambda c: c["annotations"][0].update(bbox=[35, 2, 6, 4]),
    "not finite": lambda c: c["annotations"][0].update(bbox=[1, 2, float("nan"), 4]),
    "bad box": lambda c: c["annotations"][0].update(bbox=[1, 2, 3]),
    "duplicate file": lambda c: c["images"][1].update(file_name="a.png"),
    "duplicate category": lambda c: c["categories"][1].update(name="crack"),
    "bad mask, of words": lambda c: c["annotations"][1].update(segmentation=[["a"] * 6]),
    "bad mask": lambda c: c["annotations"][1].update(segmentation={"size": [40, 30], "counts": "x"}),
    "no images": lambda c: c.update(images=[], annotations=[]),
    "bad value": lambda c: c["images"][0].update(width=0),
    "bad record": lambda c: c["categories"].append(3),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_each_fault_is_refused_and_listed(tmp_path: Path, content: dict, kind: str) -> None:
    FAULTS[kind](content)
    path = written(tmp_path, content)
    with pytest.raises(InputError, match=r"d\.json: "):
        read_coco(path)
    assert kind.split(",")[0] in {fault.kind for fault in check_coco(path, tmp_path)}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"images": []}', '{"images": {}, "annotations": 1}'])
def test_what_is_not_coco_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "d.json").write_text(text)
    with pytest.raises(InputError, match=r"d\.json"):
        read_coco(tmp_path / "d.json")


def test_all_issues_are_counted(tmp_path: Path, content: dict) -> None:
    content["annotations"][0]["bbox"] = [50, 2, 3, 3]
    content["annotations"][1]["category_id"] = 1
    with pytest.raises(InputError, match="the first of 2 issues"):
        read_coco(written(tmp_path, content))


def test_check_finds_image_issues_and_id_0(tmp_path: Path, content: dict) -> None:
    content["images"] += [{"id": 8, "file_name": "c.png", "width": 5, "height": 5},
                          {"id": 9, "file_name": "d.png", "width": 5, "height": 5}]  # fmt: skip
    content["annotations"][0]["id"] = 0
    write_radiograph(tmp_path / "a.png", np.zeros((30, 40)))
    write_radiograph(tmp_path / "b.png", np.zeros((40, 30)))
    (tmp_path / "c.png").write_bytes((tmp_path / "b.png").read_bytes()[:40])
    path = written(tmp_path, content)
    found = {(f.severity, f.kind, f.image_id, f.annotation_id) for f in check_coco(path, tmp_path)}
    assert found == {("warning", "id 0", 7, 0), ("error", "size", 3, None), ("error", "unreadable image", 8, None),
                     ("error", "missing image", 9, None)}  # fmt: skip
    assert read_coco(path).annotations[0]["id"] == 0


def test_merging_renumbers_and_joins_categories() -> None:
    def source(folder: str, names: list[str]) -> CocoDataset:
        boxes = [{"id": k, "image_id": 5, "category_id": k, "bbox": [0, 0, 1, 1]} for k in range(len(names))]
        return CocoDataset([{"id": 5, "file_name": "a.png", "width": 9, "height": 9}],
                           boxes, [{"id": k, "name": name} for k, name in enumerate(names)],
                           path=Path(folder) / "coco.json")  # fmt: skip

    merged = merge_coco([source("north", ["pore", "crack"]), source("south", ["crack"])])
    assert [image["file_name"] for image in merged.images] == ["north/a.png", "south/a.png"]
    assert [(a["id"], a["image_id"], a["category_id"]) for a in merged.annotations] == [(1, 1, 1), (2, 1, 2), (3, 2, 2)]
    assert merged.class_names == ["pore", "crack"]
    with pytest.raises(InputError, match=r"a\.png comes from two"):
        merge_coco([source("north", ["pore"]), source("south", ["pore"])], prefixes=["", ""])


def test_results_round_trip(tmp_path: Path) -> None:
    result = {"image_id": np.int64(3), "category_id": 1, "bbox": np.array([1, 2, 3, 4], np.float32),
              "score": np.float32(0.5)}  # fmt: skip
    write_results(tmp_path / "r.json", [result])
    assert read_results(tmp_path / "r.json") == [{"image_id": 3, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]
    write_results(tmp_path / "r.json", [])
    assert read_results(tmp_path / "r.json") == []


@pytest.mark.parametrize("change", [{"score": float("nan")}, {"bbox": [1, 2, 3]}, {"bbox": [1, 2, -1, 1]},
                                    {"image_id": "x"}, {"score": None}])  # fmt: skip
def test_faulty_results_are_refused(tmp_path: Path, change: dict) -> None:
    good = {"image_id": 3, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}
    with pytest.raises(InputError, match=r"r\.json: result 1"):
        write_results(tmp_path / "r.json", [good, good | change])
    assert not (tmp_path / "r.json").exists()
    with pytest.raises(InputError, match=r"r\.json: result 1.*faulty results: 1 of 2"):
        read_results(written(tmp_path, [good, good | change], "r.json"))


def blobs(shift: float) -> np.ndarray:
    """Return a smooth scene [60, 80], moved by `shift` pixels."""
    y, x = np.mgrid[:60, :80]
    return (0.5 + 0.4 * np.sin((x - shift) / 9) * np.cos(y / 11)).astype(np.float32)


def one_image(folder: Path, name: str, pixels: np.ndarray) -> CocoDataset:
    write_radiograph(folder / name, pixels)
    image = {"id": 1, "file_name": name, "width": pixels.shape[1], "height": pixels.shape[0]}
    dataset = CocoDataset([image], [], [{"id": 1, "name": "defect"}])
    write_coco(folder / f"{Path(name).stem}.json", dataset)
    return dataset


def test_duplicates(tmp_path: Path) -> None:
    scene = one_image(tmp_path, "scene.png", blobs(0))
    copy, neighbor, other = (one_image(tmp_path, name, blobs(shift))
                              for name, shift in (("copy.png", 0), ("next.png", 1), ("other.png", 14)))  # fmt: skip
    flat = one_image(tmp_path, "flat.png", np.full((60, 80), 0.5))
    kinds = [[pair.kind for pair in find_duplicates(scene, second, (tmp_path, tmp_path))]
             for second in (copy, neighbor, other, flat)]  # fmt: skip
    assert kinds == [["same"], ["near"], [], []]
    found = check_files([tmp_path / f"{name}.json" for name in ("scene", "copy", "next")], [tmp_path])
    assert [(Path(file).name, fault.severity, fault.kind) for file, fault in found] == [
        ("copy.json", "error", "same image"), ("next.json", "warning", "near-duplicate"),
        ("next.json", "warning", "near-duplicate"),
    ]  # fmt: skip


def test_drawing_leaves_the_inside_of_a_box_alone() -> None:
    drawn = draw_boxes(np.full((20, 30), 0.5, np.float32), [[5, 6, 15, 12]], color=(255, 0, 0))
    assert drawn.shape == (20, 30, 3)
    assert drawn.dtype == np.uint8
    assert (drawn[6:12, 5:15] == 128).all()
    red = (drawn == (255, 0, 0)).all(axis=-1)
    assert red.sum() == 2 * 12 + 2 * 6
    assert red[5, 4:16].all()
    with pytest.raises(ValueError, match="2 scores for 1 boxes"):
        draw_boxes(np.zeros((9, 9)), [[1, 1, 3, 3]], [0.1, 0.2])


def test_montage_shows_the_boxes(tmp_path: Path) -> None:
    dataset = one_image(tmp_path, "scene.png", blobs(0))
    write_montage(tmp_path / "gray.png", dataset, tmp_path, cell_width=80)
    assert radiograph_size(tmp_path / "gray.png") == (80 + 2 * GAP, 60 + CAPTION_HEIGHT + 2 * GAP)
    assert read_radiograph(tmp_path / "gray.png").pixels.max() > 0.8
    boxed = CocoDataset(dataset.images, [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, 9, 9]}], [])
    write_montage(tmp_path / "boxed.png", boxed, tmp_path, cell_width=80)
    with pytest.raises(InputError, match="color"):
        read_radiograph(tmp_path / "boxed.png")


def test_the_smallest_box_that_is_checked_is_the_smallest_that_is_trained_on(tmp_path: Path, content: dict) -> None:
    write_radiograph(tmp_path / "a.png", np.zeros((30, 40)))
    write_radiograph(tmp_path / "b.png", np.zeros((30, 40)))
    outcomes = set()
    for side in (0.002, 0.00999, 0.01, 0.0100001, 0.0101, 0.02):
        for x in (0, 1 / 3, 29.99, 39.9899, 39.99, 39.995):
            content["annotations"][0]["bbox"] = [x, 2, side, 4]
            path = written(tmp_path, content)
            clean = not check_coco(path, tmp_path)
            outcomes.add(clean)
            if clean:
                assert len(DetectionDataset(read_coco(path), tmp_path)[0][1]["boxes"]) == 2
            else:
                with pytest.raises(InputError, match="annotation 11"):
                    read_coco(path)
    assert outcomes == {True, False}


def test_boxes_of_an_image_as_corners(tmp_path: Path, content: dict) -> None:
    dataset = read_coco(written(tmp_path, content))
    assert dataset.boxes_xyxy(7).tolist() == [[1, 2, 11.5, 6], [0, 0, 40, 30]]
    assert dataset.boxes_xyxy(3).shape == (0, 4)
    assert dataset.annotations[0]["bbox"] == [1, 2, 10.5, 4]


def test_checking_warns_of_masks_that_cannot_be_trained_on(tmp_path: Path, content: dict) -> None:
    for name in ("a.png", "b.png"):
        write_radiograph(tmp_path / name, np.zeros((30, 40)))
    for mask in ({"size": [30, 40], "counts": [5, 6]}, {"size": [30, 40], "counts": "1" * 30 + "o"},
                 [[0, 0, 3e8, 0, 3e8, 3e8]]):  # fmt: skip
        content["annotations"][1]["segmentation"] = mask
        (issue,) = check_coco(written(tmp_path, content), tmp_path)
        assert (issue.severity, issue.kind, issue.annotation_id) == ("warning", "unusable mask", 5)
        assert len(read_coco(tmp_path / "d.json").annotations) == 2


def test_near_duplicates_are_looked_for_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    copies = rng.normal(size=(7, 256)).astype(np.float32)
    copies /= np.linalg.norm(copies, axis=1, keepdims=True)
    other = Fingerprints(list(range(10, 17)), [f"b{k}" for k in range(7)], [f"h{k}" for k in range(7)], copies[::-1])
    first = Fingerprints(list(range(7)), [f"a{k}" for k in range(7)], ["h6", *"uvwxyz"], copies)
    expected = [("same", 0, 16)] + [("near", 6 - k, 10 + k) for k in range(6)]
    for block in (1, 3, 100):
        monkeypatch.setattr(duplicates, "BLOCK", block)
        found = [(pair.kind, pair.id_a, pair.id_b) for pair in compare(first, other)]
        assert (found[0], sorted(found)) == (expected[0], sorted(expected))
