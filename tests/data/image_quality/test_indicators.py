"""Wire indicators on simulated welds, read against what they show without noise."""

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from data.errors import InputError
from data.image_quality.duplex import pair_diameter_mm, read_duplex
from data.image_quality.wires import VISIBLE, read_wires, wire_diameter_mm
from data.synthesis.iqi import pair_diameters_mm
from data.synthesis.phantom import Phantom, make_phantom

SIZE = (768, 366)


def corners(box: tuple[int, int, int, int], shape: tuple[int, int]) -> tuple[int, int, int, int]:
    x, y, width, height = box
    return max(x, 0), max(y, 0), min(x + width, shape[1]), min(y + height, shape[0])


@pytest.fixture(scope="module")
def welds() -> list[Phantom]:
    return [make_phantom("welds", 21, index, iqi=True) for index in (1, 4, 5)]


def test_preferred_numbers_are_those_of_the_series() -> None:
    assert [round(wire_diameter_mm(number), 2) for number in (1, 6, 10, 13, 16, 19)] == [3.2, 1.01, 0.4, 0.2, 0.1, 0.05]
    assert [round(pair_diameter_mm(number), 2) for number in (1, 4, 7, 10, 13)] == [0.8, 0.4, 0.2, 0.1, 0.05]
    assert pair_diameters_mm() == pytest.approx([pair_diameter_mm(number) for number in range(1, 14)])


@pytest.mark.slow
def test_wires_are_read_as_they_show(welds: list[Phantom]) -> None:
    """Never better than the truth by more than a wire; right where no wire is at the edge of showing."""
    clear, right = 0, 0
    for phantom in welds:
        assert phantom.iqi is not None
        assert phantom.iqi.wires is not None
        ratios = phantom.iqi.wire_snr
        if any(math.isnan(ratio) for ratio in ratios):  # cut off by the border
            continue
        truth = next((k for k, ratio in enumerate(ratios) if not ratio >= VISIBLE), len(ratios))
        box = corners(phantom.iqi.wires.box(), phantom.pixels.shape)
        visible = read_wires(phantom.pixels, box, phantom.pixel_size_mm).visible
        assert visible <= truth + 1
        if all(abs(math.log(ratio / VISIBLE)) > math.log(1.25) for ratio in ratios):
            clear += 1
            right += visible == truth
    assert clear >= 1
    assert right >= 0.9 * clear


def test_a_plate_without_wires_shows_none() -> None:
    rng = np.random.default_rng(3)
    plate = (0.5 + rng.normal(0, 0.02, (200, 400))).astype(np.float32)
    assert read_wires(plate, (20, 20, 380, 180), 0.1).visible <= 1
    with pytest.raises(InputError, match="not inside of 400 x 200"):
        read_wires(plate, (0, 0, 401, 100))
    with pytest.raises(InputError, match="too small for seven wires"):
        read_wires(plate, (0, 0, 60, 60))


def drawn_pairs(sigma_mm: float, pixel_mm: float, noise: float, gap_mm: float = 1.6) -> np.ndarray:
    """Return tilted pairs of plain bars behind a Gaussian blur, drawn at a twentieth of a pixel."""
    fine = pixel_mm / 20
    line = [np.zeros(int(2 / fine))]
    for diameter in pair_diameters_mm():
        bar, space = np.ones(round(diameter / fine)), np.zeros(round(diameter / fine))
        line += [bar, space, bar, np.zeros(int(gap_mm / fine))]
    blurred = gaussian_filter1d(np.concatenate([*line, np.zeros(int(2 / fine))]), sigma_mm / fine)
    # Tilted by a twentieth of a pixel a row, as the standard asks for, so that the profile is sampled finer.
    count = len(blurred) // 20 - 6
    rows = 0.2 + 0.5 * np.stack([blurred[k : k + 20 * count].reshape(-1, 20).mean(axis=1) for k in range(110)])
    return (rows + np.random.default_rng(0).normal(0, noise, rows.shape)).astype(np.float32)


@pytest.mark.parametrize("sigma_mm", [0.08, 0.12])
@pytest.mark.parametrize("negate", [False, True])
def test_unsharpness_of_drawn_pairs(sigma_mm: float, negate: bool) -> None:
    """The pair whose dip is 20 % is found by halving, from the same drawing without noise, and by the reader."""

    def dip(diameter: float) -> float:
        x = np.arange(-4, 4, 0.001)
        bars = ((np.abs(np.abs(x) - diameter)) < diameter / 2).astype(float)
        shape = gaussian_filter1d(gaussian_filter1d(bars, sigma_mm / 0.001), 0.05 / math.sqrt(12) / 0.001)
        return 1 - shape[len(shape) // 2] / shape.max()

    low, high = 0.02, 0.8
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (low, middle) if dip(middle) > 0.2 else (middle, high)
    pixels = drawn_pairs(sigma_mm, 0.05, 0.01)
    found = read_duplex(
        1 - pixels if negate else pixels, (5, 35), (pixels.shape[1] - 6, 35 + (pixels.shape[1] - 11) / 20), 31
    )
    assert found.isrb_mm == pytest.approx(low, rel=0.06)
    assert found.unsharpness_mm == pytest.approx(2 * found.isrb_mm)
    assert found.first_unresolved is not None
    assert pair_diameter_mm(found.first_unresolved) < found.isrb_mm < pair_diameter_mm(found.first_unresolved - 1)


@pytest.mark.slow
def test_pairs_on_simulated_welds(welds: list[Phantom]) -> None:
    errors = []
    for phantom in welds:
        assert phantom.iqi is not None
        if phantom.iqi.duplex is None or phantom.iqi.srb_mm is None:
            continue
        x1, y1, x2, y2 = phantom.iqi.duplex.line()
        try:
            found = read_duplex(
                phantom.pixels, (x1, y1), (x2, y2), phantom.iqi.duplex.rows / 2, phantom.iqi.duplex.first
            )
        except InputError:
            continue
        errors.append(abs(found.isrb_mm / phantom.iqi.srb_mm - 1))
    assert len(errors) >= 2
    assert np.median(errors) < 0.08


def test_lines_without_pairs_are_refused() -> None:
    plate = np.full((100, 200), 0.5, np.float32)
    plate += np.random.default_rng(0).normal(0, 0.01, plate.shape).astype(np.float32)
    for line in (((10, 50), (190, 50)), ((300, 300), (400, 300)), ((10, 10), (10, 10))):
        with pytest.raises(InputError, match="duplex line"):
            read_duplex(plate, *line)


def test_indicators_leave_the_rest_as_it_is() -> None:
    with_iqi = make_phantom("welds", 31, 0, size=SIZE, iqi=True)
    without = make_phantom("welds", 31, 0, size=SIZE)
    assert without.iqi is None
    assert with_iqi.family == without.family
    assert with_iqi.pixel_size_mm == without.pixel_size_mm
    with pytest.raises(InputError, match="not simulated on castings"):
        make_phantom("castings", 1, 0, iqi=True)
