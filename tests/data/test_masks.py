"""Mask folders to COCO and back to label maps, on hand-made files."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from data.coco import CocoDataset, read_coco, write_coco
from data.errors import InputError
from data.masks import CATEGORIES, IGNORED, component_annotations, rasterize, read_mask_folder
from data.radiograph import write_radiograph
from data.synthesis.phantom_set import write_phantoms


def two_defects() -> np.ndarray:
    """Two parts that touch at a corner, and one pixel alone."""
    mask = np.zeros((30, 40))
    mask[2:4, 5:8] = mask[4:6, 8:10] = mask[20, 30] = 1
    return mask


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Folders of two radiographs and their masks, the second empty."""
    for name, mask in (("a", two_defects()), ("b", np.zeros((30, 40)))):
        write_radiograph(tmp_path / f"images/{name}.png", np.full((30, 40), 0.5))
        write_radiograph(tmp_path / f"masks/{name}.png", mask)
    return tmp_path / "images", tmp_path / "masks"


def test_components_become_annotations_and_an_empty_mask_a_negative(folders: tuple[Path, Path]) -> None:
    dataset = read_mask_folder(*folders)
    assert [(i["id"], i["file_name"], i["width"], i["height"]) for i in dataset.images] == [
        (1, "a.png", 40, 30), (2, "b.png", 40, 30),
    ]  # fmt: skip
    assert [(a["id"], a["image_id"], a["bbox"], a["area"]) for a in dataset.annotations] == [
        (1, 1, [5, 2, 5, 4], 10), (2, 1, [30, 20, 1, 1], 1),
    ]  # fmt: skip
    np.testing.assert_array_equal(rasterize(dataset, 1), two_defects())
    assert not rasterize(dataset, 2).any()


def test_the_result_survives_a_coco_file(folders: tuple[Path, Path], tmp_path: Path) -> None:
    write_coco(tmp_path / "welds.json", read_mask_folder(*folders))
    np.testing.assert_array_equal(rasterize(read_coco(tmp_path / "welds.json"), 1), two_defects())


@settings(max_examples=60, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_components_partition_any_mask(mask: np.ndarray) -> None:
    total = np.zeros(mask.shape, int)
    for annotation in component_annotations(mask, 1):
        part = coco_mask.decode(annotation["segmentation"])
        assert coco_mask.toBbox(annotation["segmentation"]).tolist() == annotation["bbox"]
        assert part.sum() == annotation["area"]
        total += part
    np.testing.assert_array_equal(total, mask)


@pytest.mark.parametrize("suffix", ["_gt", "_mask"])
def test_marked_masks_may_lie_beside_their_radiographs(folders: tuple[Path, Path], suffix: str) -> None:
    images, masks = folders
    for name in "ab":
        shutil.move(masks / f"{name}.png", images / f"{name}{suffix}.png")
    assert len(read_mask_folder(images, images).annotations) == 2


def test_gdxray_names_pair(folders: tuple[Path, Path]) -> None:
    images, masks = folders
    for k, name in enumerate("ab", start=1):
        shutil.move(images / f"{name}.png", images / f"W0001_000{k}.png")
        shutil.move(masks / f"{name}.png", masks / f"W0002_000{k}.png")
    assert [i["file_name"] for i in read_mask_folder(images, masks).images] == ["W0001_0001.png", "W0001_0002.png"]


def test_masks_of_0_and_1_and_of_16_bits(folders: tuple[Path, Path]) -> None:
    images, masks = folders
    write_radiograph(masks / "a.png", two_defects() / 255)
    assert len(read_mask_folder(images, masks).annotations) == 2
    write_radiograph(masks / "a.png", two_defects(), bits=16)
    assert len(read_mask_folder(images, masks).annotations) == 2


def test_gray_values_between_are_named(folders: tuple[Path, Path]) -> None:
    mask = two_defects()
    mask[0, :3] = 128 / 255
    mask[1, 0] = 254 / 255
    write_radiograph(folders[1] / "a.png", mask)
    with pytest.raises(InputError, match=r"a\.png: not a binary mask: 4 pixels lie between 0 and 255, .* is 128;"):
        read_mask_folder(*folders)


def test_another_size_is_named(folders: tuple[Path, Path]) -> None:
    write_radiograph(folders[1] / "b.png", np.zeros((30, 41)))
    with pytest.raises(InputError, match=r"b\.png: the mask is 41 x 30, its radiograph .*b\.png is 40 x 30"):
        read_mask_folder(*folders)


def test_what_has_no_partner_is_named(folders: tuple[Path, Path]) -> None:
    images, masks = folders
    write_radiograph(masks / "c_gt.png", np.zeros((30, 40)))
    with pytest.raises(InputError, match=r"c_gt\.png: a mask without its radiograph c"):
        read_mask_folder(images, masks)
    (masks / "c_gt.png").unlink()
    (masks / "b.png").unlink()
    with pytest.raises(InputError, match=r"b\.png: no mask of it in .*masks"):
        read_mask_folder(images, masks)
    write_radiograph(masks / "a_gt.png", np.zeros((30, 40)))
    with pytest.raises(InputError, match=r"stands for a, as .* does"):
        read_mask_folder(images, masks)


def one_image(*annotations: dict, categories: list[dict] = CATEGORIES) -> CocoDataset:
    """A data set of one image of 6 x 5 pixels with these annotations."""
    records = [
        {"id": k, "image_id": 7, "category_id": 1, "bbox": [1, 1, 2, 2], "area": 4, "iscrowd": 0} | annotation
        for k, annotation in enumerate(annotations, start=1)
    ]
    return CocoDataset([{"id": 7, "file_name": "a.png", "width": 6, "height": 5}], records, categories)


def test_polygons_and_run_lengths_give_the_same_square() -> None:
    expected = np.zeros((5, 6))
    expected[1:3, 1:4] = 1
    runs = {"size": [5, 6], "counts": [6, 2, 3, 2, 3, 2, 12]}  # down the columns
    compressed = coco_mask.encode(np.asfortranarray(expected.astype(np.uint8)))
    for found in (runs, compressed | {"counts": compressed["counts"].decode()}, [[1, 1, 4, 1, 4, 3, 1, 3]]):
        np.testing.assert_array_equal(rasterize(one_image({"segmentation": found}), 7), expected)


def test_crowds_are_ignored_beneath_objects_and_classes_have_labels() -> None:
    categories = [{"id": 4, "name": "pore"}, {"id": 9, "name": "crack"}]
    labels = rasterize(
        one_image(
            {"segmentation": [[0, 0, 6, 0, 6, 2, 0, 2]], "category_id": 9},
            {"segmentation": {"size": [5, 6], "counts": [0, 30]}, "category_id": 4, "iscrowd": 1},
            {"segmentation": [[0, 1, 2, 1, 2, 5, 0, 5]], "category_id": 4},
            categories=categories,
        ),
        7,
    )
    np.testing.assert_array_equal(labels[:, 0], [2, 2, 1, 1, 1])
    np.testing.assert_array_equal(labels[:, 5], [2, 2, IGNORED, IGNORED, IGNORED])


@pytest.mark.parametrize("found", [None, [], {"size": [5, 6], "counts": ""}])
def test_a_box_is_not_a_mask(found: object) -> None:
    with pytest.raises(InputError, match=r"annotation 1 of image 7 \(a\.png\) has a box .* no segmentation; give"):
        rasterize(one_image({"segmentation": found}), 7)


def test_broken_run_lengths_are_named() -> None:
    with pytest.raises(InputError, match=r"annotation 1 of image 7 .* run lengths add up to 3, not 5 x 6"):
        rasterize(one_image({"segmentation": {"size": [5, 6], "counts": [1, 2]}}), 7)
    with pytest.raises(InputError, match=r"annotation 1 of image 7 \(a\.png\): .* end in the middle of a number"):
        rasterize(one_image({"segmentation": {"size": [5, 6], "counts": "PP"}}), 7)


def test_more_classes_than_a_label_map_holds_are_refused() -> None:
    categories = [{"id": k, "name": f"class {k}"} for k in range(1, 301)]
    square = [[0, 0, 2, 0, 2, 2, 0, 2]]
    labels = rasterize(one_image({"segmentation": square, "category_id": 254}, categories=categories), 7)
    assert labels.max() == 254
    with pytest.raises(InputError, match="annotation 1 has class 255 of 300; masks hold 254 classes"):
        rasterize(one_image({"segmentation": square, "category_id": 255}, categories=categories), 7)


def test_an_image_beyond_the_limit_is_refused_before_it_takes_memory() -> None:
    dataset = CocoDataset([{"id": 1, "file_name": "a.png", "width": 10**9, "height": 10**9}], [], CATEGORIES)
    with pytest.raises(InputError, match="limit of"):
        rasterize(dataset, 1)


def test_phantom_welds_agree_with_their_masks(tmp_path: Path) -> None:
    dataset = read_coco(write_phantoms("welds", 2, tmp_path, 3, style="easy", workers=1))
    masks = read_mask_folder(tmp_path / "Welds/W0001", tmp_path / "Welds/W0002")
    assert dataset.annotations
    for image in dataset.images:
        np.testing.assert_array_equal(rasterize(dataset, image["id"]), rasterize(masks, image["id"]))
