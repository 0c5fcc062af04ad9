"""Windows and tiles over radiographs of any size."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch import Tensor

from detectors.interface import Detections
from detectors.tiles import _gives_way, clip, detect_in_tiles, pad_to, suppress, tile_starts

TILE, STRIDE = 60, 30


@pytest.mark.parametrize(
    ("length", "expected"),
    [(100, [0]), (300, [0]), (301, [0, 1]), (450, [0, 150]), (500, [0, 150, 200]), (768, [0, 150, 300, 450, 468])],
)
def test_windows_of_300_every_150(length: int, expected: list[int]) -> None:
    """The last is flush with the end, and there is none twice."""
    assert tile_starts(length, 300, 150) == expected


@given(length=st.integers(1, 2000), size=st.integers(1, 400), stride=st.integers(1, 400))
def test_every_pixel_is_covered(length: int, size: int, stride: int) -> None:
    """Whatever the length, where windows overlap or touch."""
    stride = min(stride, size)
    starts = tile_starts(length, size, stride)
    covered = {pixel for start in starts for pixel in range(start, start + size)}
    assert covered >= set(range(length))
    assert starts == sorted(set(starts))


def find_squares(tiles: Tensor) -> list[Detections]:
    """A perfect detector that sees its own tile only: the boxes of bright regions, whole or cut, equally sure."""
    found = []
    for tile in tiles[:, 0].numpy():
        slices = ndimage.find_objects(ndimage.label(tile > 0.5)[0])
        boxes = [[x.start, y.start, x.stop, y.stop] for y, x in slices]
        found.append(
            {
                "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
                "scores": torch.full((len(boxes),), 0.9),
                "labels": torch.ones(len(boxes), dtype=torch.int64),
            }
        )
    return found


def detect_squares(image: Tensor) -> Detections:
    return detect_in_tiles(image, TILE, STRIDE, 4, find_squares, nms_iou=0.4, limit=100)


@settings(max_examples=300, deadline=None)
@given(data=st.data(), width=st.integers(20, 200), height=st.integers(20, 200))
def test_a_defect_anywhere_is_reported_once(data: st.DataObject, width: int, height: int) -> None:
    """Corners and seams included, up to the width that two tiles share."""
    w, h = (data.draw(st.integers(2, min(STRIDE, length)), label=name) for name, length in
            (("w", width), ("h", height)))  # fmt: skip
    x, y = data.draw(st.integers(0, width - w), label="x"), data.draw(st.integers(0, height - h), label="y")
    image = torch.zeros(1, height, width)
    image[:, y : y + h, x : x + w] = 1
    found = detect_squares(image)
    assert found["boxes"].tolist() == [[x, y, x + w, y + h]]


def test_what_covers_a_cut_box_is_sought_far_and_wide() -> None:
    """Boxes are compared in neighborhoods: the answer is that of comparing all of them with all."""
    generator = torch.Generator().manual_seed(0)
    corner = 900 * torch.rand(600, 2, generator=generator)
    merged = {
        "boxes": torch.cat([corner, corner + 5 + 120 * torch.rand(600, 2, generator=generator)], dim=1),
        "scores": torch.rand(600, generator=generator),
        "labels": torch.randint(1, 3, (600,), generator=generator),
        "cut": torch.rand(600, generator=generator) < 0.5,
    }
    boxes, areas = merged["boxes"], (merged["boxes"][:, 2:] - merged["boxes"][:, :2]).prod(dim=1)
    low = torch.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    part = (high - low).clamp(min=0).prod(dim=2) / areas[:, None]
    cut = merged["cut"]
    covers = (~cut[None] & (part >= 0.5)) | (cut[None] & (areas[None] > areas[:, None]) & (part >= 0.75))
    alike = merged["labels"][:, None] == merged["labels"][None]
    sure = merged["scores"][None] >= 0.25 * merged["scores"][:, None]
    expected = cut & (covers & alike & sure).any(dim=1)
    assert 0 < expected.sum() < cut.sum()
    assert torch.equal(_gives_way(merged), expected)


@pytest.mark.parametrize("x", range(100, 141, 5))
def test_two_neighbors_on_a_seam_stay_two(x: int) -> None:
    image = torch.zeros(1, 150, 260)
    image[:, 50:62, x : x + 8] = 1
    image[:, 50:62, x + 10 : x + 18] = 1
    assert sorted(detect_squares(image)["boxes"][:, 0].tolist()) == [x, x + 10]


def test_a_cut_box_gives_way_though_it_scores_more() -> None:
    def half_sure(tiles: Tensor) -> list[Detections]:
        found = find_squares(tiles)
        for part in found:
            whole = part["boxes"][:, 2] - part["boxes"][:, 0] == 20
            part["scores"] = torch.where(whole, 0.5, 0.9)
        return found

    image = torch.zeros(1, 60, 90)
    image[:, 20:40, 45:65] = 1
    found = detect_in_tiles(image, 60, 30, 4, half_sure, nms_iou=0.9, limit=10)
    assert found["boxes"].tolist() == [[45, 20, 65, 40]]
    assert found["scores"].tolist() == [0.5]


def test_noise_drives_no_cut_box_away() -> None:
    """A defect longer than two tiles share is cut in both: its pieces stay beside a large unlikely box."""

    def detect(tiles: Tensor) -> list[Detections]:
        piece, noise = [20.0, 20.0, 60.0, 40.0], [10.0, 5.0, 50.0, 50.0]
        part = {
            "boxes": torch.tensor([piece, noise]), "scores": torch.tensor([0.9, 0.02]), "labels": torch.tensor([1, 1])
        }  # fmt: skip
        return [part for _ in tiles]

    found = detect_in_tiles(torch.zeros(1, 60, 120), 60, 60, 4, detect, nms_iou=0.9, limit=10)
    assert [20.0, 20.0, 60.0, 40.0] in found["boxes"].tolist()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), count=st.integers(0, 60))
def test_a_tile_equal_to_the_image_gives_the_untiled_answer(seed: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    corner = 50 * torch.rand(count, 2, generator=generator)
    found = {
        "boxes": torch.cat([corner, corner + 1 + 30 * torch.rand(count, 2, generator=generator)], dim=1),
        "scores": torch.rand(count, generator=generator),
        "labels": torch.randint(1, 3, (count,), generator=generator),
    }
    tiled = detect_in_tiles(torch.zeros(1, 60, 60), 60, 30, 4, lambda tiles: [found], nms_iou=0.4, limit=20)
    plain = suppress(clip(found, 60, 60), 0.4, 20)
    assert all(torch.equal(tiled[name], plain[name]) for name in plain)
    assert len(plain["scores"]) <= 20


def test_small_images_are_continued_by_their_border() -> None:
    image = torch.arange(6.0).view(1, 1, 2, 3)
    padded = pad_to(image, 4, 5)
    assert padded.shape == (1, 1, 4, 5)
    assert torch.equal(padded[..., :2, :3], image)
    assert torch.equal(padded[0, 0, 3], torch.tensor([3.0, 4, 5, 5, 5]))


def test_a_box_that_only_touches_the_margin_of_its_tile_is_reported_once() -> None:
    """It lies whole in one tile, 3 px from the edge, and every other tile cuts it: the largest piece is the defect."""
    image = torch.zeros(1, 20, 106)
    image[:, 0:2, 29:57] = 1
    assert detect_squares(image)["boxes"].tolist() == [[29, 0, 57, 2]]
