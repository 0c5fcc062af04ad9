"""The part against air and against the surround of a round field of view."""

import numpy as np
import pytest

from data.part_mask import segment_test_object
from data.synthesis import castings
from data.synthesis.phantom import make_phantom


def metal(shape: tuple[int, int] = (200, 300), noise: float = 0.01) -> np.ndarray:
    """A plate at 0.4 with grain."""
    return (0.4 + np.random.default_rng(0).normal(0, noise, shape)).astype(np.float32).clip(0, 1)


@pytest.mark.parametrize(
    "pixels", [np.zeros((50, 60)), np.ones((50, 60)), np.full((50, 60), 0.8), metal(), metal()[:1]]
)
def test_in_doubt_everything_is_part(pixels: np.ndarray) -> None:
    assert segment_test_object(pixels).all()


@pytest.mark.parametrize("air", [0.78, 0.95, 1.0])
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_air_is_not_part_up_to_the_blurred_edge(air: float, noise: float) -> None:
    pixels = metal(noise=noise)
    pixels[:, 200:] += np.float32(air) - 0.4
    mask = segment_test_object(pixels.clip(0, 1))
    assert mask[:, :200].all()
    assert not mask[:, 206:].any()


def test_a_hole_through_the_part_is_air_and_a_bright_defect_is_not() -> None:
    pixels = metal()
    pixels[:, 230:] = 1.0
    pixels[40:80, 40:80] = 1.0  # a bore
    pixels[120:134, 60:74] = 1.0  # a cavity through most of the wall
    mask = segment_test_object(pixels)
    assert not mask[44:76, 44:76].any()
    assert mask[110:150, 50:90].all()


def test_a_bright_spot_alone_does_not_set_the_level_of_air() -> None:
    pixels = metal()
    pixels[80:100, 80:100] = 1.0
    assert segment_test_object(pixels).all()


def test_a_bright_slope_is_no_air() -> None:
    pixels = np.tile(np.linspace(0.2, 1.0, 300, dtype=np.float32), (200, 1))
    assert segment_test_object(pixels).all()


def test_a_round_field_ends_at_its_circle() -> None:
    rows, columns = np.mgrid[:240, :320]
    distance = np.hypot(rows - 120, columns - 160)
    pixels = np.where(distance < 150, metal((240, 320)), np.float32(0.05))
    pixels[np.abs(distance - 180) < 3] = 0.25  # a reflection on the housing
    mask = segment_test_object(pixels)
    assert mask[distance < 148].all()
    assert not mask[distance > 155].any()


def test_a_dark_part_that_is_not_round_is_kept() -> None:
    pixels = metal()
    pixels[120:] = 0.05
    assert segment_test_object(pixels).all()


def test_no_defect_of_a_phantom_casting_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    exposure = castings._realistic_exposure

    def spy(rng: np.random.Generator, thickness: np.ndarray) -> castings.Exposure:
        seen.append((thickness > 0.5, exposure(rng, thickness)))
        return seen[-1][1]

    monkeypatch.setattr(castings, "_realistic_exposure", spy)
    kept = removed = part = rest = 0
    for index in range(6):
        phantom = make_phantom("castings", 3, index, size=(320, 240))
        mask = segment_test_object(phantom.pixels)
        for x, y, shape in phantom.masks:
            assert mask[y : y + shape.shape[0], x : x + shape.shape[1]][shape].mean() > 0.9
        truth = seen[-1][0]
        kept, part = kept + int(mask[truth].sum()), part + int(truth.sum())
        removed, rest = removed + int((~mask)[~truth].sum()), rest + int((~truth).sum())
    assert kept / part > 0.95
    assert removed / rest > 0.7


def test_the_plate_of_a_weld_fills_the_film() -> None:
    for index in (1, 5):  # the brightest two of the first twelve
        assert segment_test_object(make_phantom("welds", 3, index, size=(400, 160)).pixels).all()


def test_shape_is_checked() -> None:
    with pytest.raises(ValueError, match=r"\[3, 4, 5\]"):
        segment_test_object(np.zeros((3, 4, 5)))
