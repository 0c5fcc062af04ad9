import dataclasses

import numpy as np
import pytest

from data.errors import InputError
from data.synthesis import physics

EXPOSURE = physics.Exposure(
    material="Al", kilovolts=100.0, gain=1.0, offset=0.0, gamma=1.0, black=0.1, white=0.9, film=False, blur_x=1.2,
    blur_y=1.2, scatter=0.0, glare=0.0, photons=1e4, electronic=0.0, display_noise=0.0, line_noise=0.0,
    noise_reach_x=0.0, noise_reach_y=0.0, mottle=0.0, field=None, vignetting=0.0,
)  # fmt: skip


def test_aluminum_at_80_kev_has_the_tabulated_attenuation():
    # NIST: mu/rho = 0.2018 cm2/g at 80 keV, times 2.70 g/cm3 = 0.545 / cm.
    assert physics.attenuation("Al", np.array([80.0])) == pytest.approx([0.0545], rel=0.01)


def test_unknown_material_is_an_input_error():
    with pytest.raises(InputError, match="Unobtainium"):
        physics.attenuation("Unobtainium", np.array([80.0]))


def test_transmission_of_a_slab_is_beer_lambert_summed_over_the_spectrum():
    energies, share = physics.tube_spectrum(100.0)
    by_hand = sum(s * np.exp(-mu * 20.0) for s, mu in zip(share, physics.attenuation("Al", energies), strict=True))
    curve = physics.transmission("Al", 100.0)
    assert curve(np.array([20.0], np.float32))[0] == pytest.approx(by_hand, rel=1e-3)
    assert curve(np.array([0.0], np.float32))[0] == pytest.approx(1.0)


def test_beam_hardens_with_thickness():
    curve = physics.transmission("Al", 130.0)
    value = np.log(curve(np.array([0.0, 5.0, 50.0, 55.0], np.float32)))
    assert (value[0] - value[1]) > 1.05 * (value[2] - value[3]) > 0


@pytest.mark.parametrize("material", ["Al", "Fe"])
@pytest.mark.parametrize("kilovolts", [60.0, 160.0, 225.0])
def test_transmission_falls_with_thickness_and_stays_positive(material, kilovolts):
    values = physics.transmission(material, kilovolts)(np.linspace(0, 500, 400, dtype=np.float32))
    assert (np.diff(values) <= 0).all()
    assert values.min() > 0


def test_thicker_metal_is_darker_on_a_detector_and_brighter_on_film():
    signal = np.array([0.2, 0.6], np.float32)
    assert np.diff(EXPOSURE.display(signal))[0] > 0
    assert np.diff(dataclasses.replace(EXPOSURE, film=True).display(signal))[0] < 0


def test_display_saturates_between_black_and_white():
    shown = EXPOSURE.display(np.array([-1.0, 0.0, 0.5, 1.0, 7.0], np.float32))
    assert shown == pytest.approx([0.1, 0.1, 0.5, 0.9, 0.9])
    assert EXPOSURE.slope(7.0) == 0.0
    assert EXPOSURE.slope(0.5) == pytest.approx(0.8)


def test_noise_has_the_promised_size():
    flat = np.full((200, 200), 0.5, np.float32)
    image = physics.acquire(flat, np.ones_like(flat), EXPOSURE, np.random.default_rng(0))
    quantum = np.sqrt(0.5 / 1e4) * 0.8
    assert image.std() == pytest.approx(quantum, rel=0.03)
    assert EXPOSURE.display_sigma(0.5) == pytest.approx(np.hypot(quantum, 1 / 255 / np.sqrt(12)), rel=1e-6)


def test_correlated_noise_has_unit_variance_and_the_stated_correlation():
    noise = physics.correlated_noise((400, 400), 0.6, 0.0, np.random.default_rng(1))
    assert noise.std() == pytest.approx(1.0, rel=0.03)
    assert (noise[:, 1:] * noise[:, :-1]).mean() == pytest.approx(0.6, abs=0.03)
    assert (noise[1:] * noise[:-1]).mean() == pytest.approx(0.0, abs=0.03)


def test_mottle_correlates_both_ways_and_keeps_unit_variance():
    noise = physics.correlated_noise((400, 400), 0.0, 0.0, np.random.default_rng(1), mottle=1.5)
    assert noise.std() == pytest.approx(1.0, rel=0.05)
    # Two Gaussians of sigma 1.5, one pixel apart, overlap by exp(-1 / (4 * 1.5 ** 2)).
    assert (noise[:, 1:] * noise[:, :-1]).mean() == pytest.approx(np.exp(-1 / 9), abs=0.05)
    assert (noise[1:] * noise[:-1]).mean() == pytest.approx(np.exp(-1 / 9), abs=0.05)


def test_round_field_sees_its_middle_and_not_the_corner():
    exposure = dataclasses.replace(EXPOSURE, field=(50.0, 50.0, 40.0), vignetting=0.5)
    sensitivity, visible = physics.vignetting((100, 100), exposure)
    assert visible[50, 50] == 1
    assert visible[0, 0] == 0
    assert sensitivity[50, 50] > sensitivity[50, 80] > 0


def test_open_beam_through_nothing_is_one():
    assert physics.ideal_signal(np.zeros((64, 64), np.float32), EXPOSURE) == pytest.approx(1.0, abs=1e-5)
