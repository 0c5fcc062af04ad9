"""One defect put into a scene: where it lies, how strong it is, what the border of the radiograph cuts off."""

from dataclasses import replace

import numpy as np
import pytest

from data.synthesis.defect_shapes import pore
from data.synthesis.implant import DEEPEST, MASK_THRESHOLD, PEAK_TO_NOISE, Scene, implant
from data.synthesis.physics import Exposure, transmission

EXPOSURE = Exposure(
    material="Al", kilovolts=100.0, gain=1.5, offset=0.0, gamma=1.0, black=0.05, white=0.95, film=False, blur_x=1.0,
    blur_y=1.5, scatter=0.0, glare=0.0, photons=1e6, electronic=0.0, display_noise=0.0, line_noise=0.0,
    noise_reach_x=0.0, noise_reach_y=0.0, mottle=0.0, field=None, vignetting=0.0,
)  # fmt: skip


def scene(rows: int = 100, columns: int = 120, wall: float = 20.0) -> Scene:
    thickness = np.full((rows, columns), wall, np.float32)
    signal = transmission("Al", 100.0)(thickness)
    return Scene(thickness, signal, EXPOSURE, np.ones((rows, columns), np.float32))


def sphere() -> np.ndarray:
    return pore(np.random.default_rng(3), 14)


def test_peak_contrast_is_that_asked_for() -> None:
    there = scene()
    before = EXPOSURE.display(there.signal)
    defect = implant(there, sphere(), "pore", (50, 40), 0.1)
    change = EXPOSURE.display(there.signal) - before
    level = before[0, 0] - EXPOSURE.black
    assert change.max() == pytest.approx(0.1 * level, rel=0.1)
    ys, xs = np.nonzero(change > MASK_THRESHOLD * change.max())
    assert (defect.x0, defect.y0) == (xs.min(), ys.min())
    assert defect.mask.shape == (np.ptp(ys) + 1, np.ptp(xs) + 1)
    assert defect.mask.sum() == len(ys)


def test_the_depth_gives_the_contrast_by_the_curve_of_the_beam() -> None:
    there = scene()
    before = there.signal[0, 0]
    chord = np.ones((61, 61), np.float32)  # so broad that its middle is not blurred
    defect = implant(there, chord, "pore", (30, 20), 0.2)
    thinner = transmission("Al", 100.0)(np.array([20.0 - defect.depth_mm], np.float32))[0]
    assert there.signal[50, 60] - before == pytest.approx(thinner - before, rel=1e-4)


def test_no_defect_takes_more_than_its_share_of_the_wall() -> None:
    there = scene(wall=4.0)
    weak = Scene(there.thickness_mm, there.signal, EXPOSURE, there.weight)
    defect = implant(weak, sphere(), "pore", (50, 40), 5.0)
    assert defect is None or defect.depth_mm <= DEEPEST * 4.0 + 1e-4
    added = implant(scene(), -sphere(), "inclusion", (50, 40), 0.1)
    assert added.depth_mm > 0


@pytest.mark.parametrize("corner", [(3, 40), (50, 3), (102, 40), (50, 82), (3, 3), (102, 82)])
def test_the_window_of_a_defect_is_clipped_at_the_border_and_nothing_else(corner: tuple[int, int]) -> None:
    chord = sphere()[3:-3, 3:-3]  # 17 x 17
    assert chord.shape == (17, 17)
    inner, cut = scene(300, 320), scene()
    before = cut.signal.copy()
    whole = implant(inner, chord, "pore", (corner[0] + 100, corner[1] + 100), 0.1)
    found = implant(cut, chord, "pore", corner, 0.1)
    assert (found.x0, found.y0) == (whole.x0 - 100, whole.y0 - 100)
    assert np.array_equal(found.mask, whole.mask)
    inside = np.s_[100:200, 100:220]
    np.testing.assert_allclose(cut.signal, inner.signal[inside], atol=0.006 * float((cut.signal - before).max()))


def test_what_lies_beyond_the_border_is_cut_off() -> None:
    chord = np.ones((30, 30), np.float32)
    there = scene()
    defect = implant(there, chord, "pore", (105, 85), 0.1)
    assert (defect.x0 + defect.mask.shape[1], defect.y0 + defect.mask.shape[0]) == (120, 100)
    first = implant(there, chord, "pore", (0, 0), 0.1)
    assert (first.x0, first.y0) == (0, 0)


def test_a_defect_that_would_not_show_is_made_deeper_until_it_does() -> None:
    there = scene()
    chord, level = np.ones((61, 61), np.float32), float(there.signal[0, 0])
    depths = {}
    for photons in (1e9, 1e4):
        exposure = replace(EXPOSURE, photons=photons)
        noisy = Scene(there.thickness_mm, there.signal.copy(), exposure, there.weight)
        above_black = float(exposure.display(there.signal)[0, 0]) - exposure.black
        faint = 0.8 * PEAK_TO_NOISE * replace(EXPOSURE, photons=1e4).display_sigma(level) / above_black
        depths[photons] = implant(noisy, chord, "pore", (30, 20), faint).depth_mm
    assert depths[1e4] == pytest.approx(1.35 * depths[1e9], rel=0.01)  # one step is enough


def test_nothing_is_put_where_there_is_no_metal_or_the_display_is_saturated() -> None:
    air = scene(wall=0.0)
    assert implant(air, sphere(), "pore", (50, 40), 0.1) is None
    bright = scene()
    bright.signal[...] = 2.0
    assert implant(bright, sphere(), "pore", (50, 40), 0.1) is None
    assert (bright.signal == 2.0).all()
