"""Zones are carried to parts that were moved and turned by known amounts, and refused on another part."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from data.errors import InputError
from data.radiograph import write_radiograph
from data.synthesis.phantom import make_phantom
from detectors.decisions.registration import register
from detectors.decisions.rules import ZoneSource
from detectors.decisions.zones import read_zones

SIZE = (320, 240)
POLYGON = [90, 60, 220, 60, 220, 170, 90, 170]


def part(index: int) -> np.ndarray:
    return make_phantom("castings", 3, index, size=SIZE).pixels


def moved(
    pixels: np.ndarray, degrees: float, x: float, y: float, noise: float = 0.015
) -> tuple[np.ndarray, np.ndarray]:
    """Return the radiograph turned and shifted, darker and with fresh noise, and the matrix [2, 3] that did it."""
    height, width = pixels.shape
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    matrix[:, 2] += (x, y)
    laid = cv2.warpAffine(pixels, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    noisy = 0.85 * laid + np.random.default_rng(0).normal(0, 0.015, laid.shape)
    return noisy.clip(0, 1).astype(np.float32), matrix


@pytest.mark.parametrize("index", [0, 1, 3])
@pytest.mark.parametrize(("degrees", "x", "y"), [(0, 0, 0), (2, 5, -7), (-6, 12, 9), (11, -14, 10)])
def test_corners_come_back_to_a_pixel(index: int, degrees: float, x: float, y: float) -> None:
    pixels = part(index)
    turned, matrix = moved(pixels, degrees, x, y)
    found = register(pixels, turned)
    corners = np.array(POLYGON, float).reshape(-1, 2)
    there = corners @ matrix[:, :2].T + matrix[:, 2]
    back = there @ found.matrix[:, :2].T + found.matrix[:, 2]
    assert not found.refused
    assert np.hypot(*(back - corners).T).max() < 0.5


def test_large_radiographs_are_registered_at_a_smaller_scale() -> None:
    large = cv2.resize(part(1), (1280, 960), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    turned, matrix = moved(large, 3, 40, -30)
    found = register(large, turned, largest_residual=6)
    corners = np.array([[300, 300], [900, 700]], float)
    back = (corners @ matrix[:, :2].T + matrix[:, 2]) @ found.matrix[:, :2].T + found.matrix[:, 2]
    assert not found.refused
    assert np.hypot(*(back - corners).T).max() < 1


@pytest.mark.parametrize(("one", "two"), [(0, 1), (1, 3), (3, 4), (4, 0)])
def test_another_part_is_refused_with_the_residual(one: int, two: int) -> None:
    found = register(part(one), part(two))
    assert found.refused.startswith("zones not carried")


def test_a_larger_turn_than_allowed_is_refused() -> None:
    pixels = part(1)
    turned, _ = moved(pixels, 120, 0, 0)
    assert "the residual is" in register(pixels, turned).refused


def test_noise_and_other_sizes_are_refused() -> None:
    noise = np.random.default_rng(0).normal(0.5, 0.05, (240, 320)).astype(np.float32)
    assert register(noise, noise[:, ::-1].copy()).refused
    assert "sizes differ" in register(noise, noise[:200]).refused


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """A reference radiograph with two zones as COCO polygons."""
    write_radiograph(tmp_path / "reference.png", part(1), 8)
    corner = [0, 0, 40, 0, 40, 40, 0, 40]
    content = {
        "images": [{"id": 1, "file_name": "reference.png", "width": SIZE[0], "height": SIZE[1]}],
        "categories": [{"id": 1, "name": "web"}, {"id": 2, "name": "corner"}],
        "annotations": [
            {"id": k, "image_id": 1, "category_id": k, "bbox": [0, 0, 9, 9], "segmentation": [outline]}
            for k, outline in ((1, POLYGON), (2, corner))
        ],
    }
    (tmp_path / "zones.json").write_text(json.dumps(content))
    return tmp_path


def test_polygons_are_carried(drawn: Path) -> None:
    zones = read_zones(ZoneSource(file="zones.json"), drawn)
    assert zones.masks["web"].sum() == 130 * 110
    turned, matrix = moved(part(1), 4, 6, 8)
    carried = zones.carry(turned)
    wanted = cv2.warpAffine(zones.masks["web"].astype(np.uint8), matrix, SIZE, flags=cv2.INTER_NEAREST) > 0
    assert not carried.refused
    assert (carried.masks["web"] ^ wanted).sum() < 0.02 * wanted.sum()
    away, _ = moved(part(1), 0, -25, 0)
    assert "% of zone 'corner' lie in the radiograph" in zones.carry(away).refused


def test_masks_are_read_like_polygons(drawn: Path) -> None:
    polygons = read_zones(ZoneSource(file="zones.json"), drawn)
    write_radiograph(drawn / "web.png", polygons.masks["web"].astype(float), 8)
    masks = read_zones(ZoneSource(reference="reference.png", masks={"web": "web.png"}), drawn)
    assert np.array_equal(masks.masks["web"], polygons.masks["web"])


def test_faulty_zones(drawn: Path) -> None:
    with pytest.raises(ValueError, match="or 'reference' and 'masks'"):
        ZoneSource(reference="a.png")
    content = json.loads((drawn / "zones.json").read_text())
    for change, words in (
        ({"categories": [{"id": 1, "name": "part"}, {"id": 2, "name": "x"}]}, "may not be named 'part'"),
        ({"annotations": content["annotations"][:1]}, "zone 'corner' has no pixel"),
    ):
        (drawn / "faulty.json").write_text(json.dumps({**content, **change}))
        with pytest.raises(InputError, match=words):
            read_zones(ZoneSource(file="faulty.json"), drawn)
    write_radiograph(drawn / "small.png", np.ones((9, 9)), 8)
    with pytest.raises(InputError, match="the mask is 9 x 9"):
        read_zones(ZoneSource(reference="reference.png", masks={"web": "small.png"}), drawn)
