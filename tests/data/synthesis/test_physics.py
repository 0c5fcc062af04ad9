import dataclasses
from math import erf

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


# NIST, X-Ray Mass Attenuation Coefficients (NISTIR 5632), cm2/g at these energies in keV.
NIST_KEV = [60.0, 80.0, 100.0, 150.0]
NIST = {
    "Al": [0.2778, 0.2018, 0.1704, 0.1378],
    "Fe": [1.205, 0.5952, 0.3717, 0.1964],
    "Cu": [1.593, 0.7630, 0.4584, 0.2217],
    "I": [7.579, 3.510, 1.942, 0.6978],
    "Cs": [8.250, 3.836, 2.124, 0.7590],  # of Elam et al. 2002
}


def by_hand(kilovolts: float, copper_mm: float, energies: list[float]) -> np.ndarray:
    """The detected signal of each energy, relative to the first, from NIST's coefficients; the oracle."""
    signal = []
    for energy in energies:
        mu = {element: values[NIST_KEV.index(energy)] for element, values in NIST.items()}
        photons = (kilovolts - energy) / energy  # Kramers
        photons *= np.exp(-mu["Al"] * 2.70 * 0.2)  # 2 mm of aluminum
        photons *= np.exp(-mu["Cu"] * 8.96 * copper_mm / 10)
        iodide = (132.905 * mu["Cs"] + 126.904 * mu["I"]) / (132.905 + 126.904)  # by atomic weight
        signal.append(photons * energy * (1 - np.exp(-iodide * 4.51 * 0.04)))  # 0.4 mm, the energy is detected
    return np.array(signal) / signal[0]


@pytest.mark.parametrize("copper_mm", [0.0, 0.2, 1.0])
def test_tube_spectrum_is_that_of_tabulated_coefficients(copper_mm):
    # 195 bins of 1 keV from 15 keV: whole energies lie between two bins.
    energies, share = physics.tube_spectrum(210.0, copper_mm, bins=195)
    assert share.sum() == pytest.approx(1)
    assert (energies[0], energies[-1]) == (15.5, 209.5)
    at = [int(np.flatnonzero(energies == energy - 0.5)[0]) for energy in NIST_KEV]
    found = np.sqrt(share[at] * share[np.array(at) + 1])
    assert found / found[0] == pytest.approx(by_hand(210.0, copper_mm, NIST_KEV), rel=5e-4)


def test_cesium_and_iodine_absorb_by_their_weights(monkeypatch):
    absorbed = {}
    for alone in ("Cs", "I"):
        thin = {"Cs": 0.0, "I": 0.0, alone: 1e-3}  # cm2/g; a thin screen absorbs in proportion
        monkeypatch.setattr("xraydb.mu_elam", lambda element, _, thin=thin: np.array([thin[element]]))
        absorbed[alone] = physics.iodide_absorption(np.array([100.0]))[0]
    assert absorbed["Cs"] / absorbed["I"] == pytest.approx(132.905 / 126.904, rel=0.01)  # atomic weights
    assert sum(absorbed.values()) == pytest.approx(1e-3 * 4.51 * 0.04, rel=1e-3)  # 0.4 mm


@pytest.mark.parametrize(("material", "copper_mm"), [("Al", 0.2), ("Fe", 1.0)])
def test_steel_is_seen_through_more_copper_than_aluminum(material, copper_mm):
    energies, share = physics.tube_spectrum(160.0, copper_mm)
    expected = sum(s * np.exp(-mu * 15.0) for s, mu in zip(share, physics.attenuation(material, energies), strict=True))
    found = physics.transmission(material, 160.0)(np.array([15.0], np.float32))[0]
    assert found == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(("material", "density"), [("Al", 2.70), ("Fe", 7.874)])
def test_attenuation_is_tabulated(material, density):
    found = physics.attenuation(material, np.array(NIST_KEV))
    assert found == pytest.approx(np.array(NIST[material]) * density / 10, rel=0.01)


@pytest.mark.parametrize(("scatter", "glare", "sigma"), [(0.2, 0.0, 96.0), (0.0, 0.1, 20.0)])
def test_scatter_reaches_farther_than_glare(scatter, glare, sigma):
    exposure = dataclasses.replace(EXPOSURE, scatter=scatter, glare=glare)
    flat = physics.scatter_and_glare(np.full((64, 64), 0.5, np.float32), exposure)
    assert flat == pytest.approx((scatter + glare) * 0.5, rel=1e-5)
    step = np.zeros((64, 1600), np.float32)
    step[:, 800:] = 1
    light = physics.scatter_and_glare(step, exposure)[32] / (scatter + glare)
    for distance in (-48, -16, 16, 48):  # the integral of a Gaussian of 2.5 or 12 cells of 8 pixels
        assert light[800 + distance] == pytest.approx(0.5 * (1 + erf(distance / sigma / np.sqrt(2))), abs=0.02)


def test_ideal_signal_holds_scatter_and_glare_of_the_primary_beam():
    exposure = dataclasses.replace(EXPOSURE, scatter=0.2, glare=0.1)
    assert physics.ideal_signal(np.zeros((64, 64), np.float32), exposure) == pytest.approx(1.3, abs=1e-4)


def test_blur_has_its_own_width_along_each_axis():
    point = np.zeros((41, 41), np.float32)
    point[20, 20] = 1
    blurred = physics.blur(point, dataclasses.replace(EXPOSURE, blur_x=1.0, blur_y=2.0))
    offsets = np.arange(41) - 20
    assert blurred.sum() == pytest.approx(1, rel=1e-5)
    assert (blurred.sum(axis=0) * offsets**2).sum() == pytest.approx(1.0, rel=0.02)
    assert (blurred.sum(axis=1) * offsets**2).sum() == pytest.approx(4.0, rel=0.02)


def quiet(**noise: float) -> physics.Exposure:
    return dataclasses.replace(EXPOSURE, photons=np.inf, **noise)


def test_electronic_noise_does_not_depend_on_the_signal():
    for level in (0.2, 0.7):
        flat = np.full((200, 200), level, np.float32)
        image = physics.acquire(flat, np.ones_like(flat), quiet(electronic=0.02), np.random.default_rng(0))
        assert image.std() == pytest.approx(0.02 * 0.8, rel=0.03)
    expected = np.hypot(0.02 * 0.8, 1 / 255 / np.sqrt(12))
    assert quiet(electronic=0.02).display_sigma(0.5) == pytest.approx(expected, rel=1e-6)


def test_line_noise_shifts_whole_rows():
    flat = np.full((2000, 40), 0.5, np.float32)
    image = physics.acquire(flat, np.ones_like(flat), quiet(line_noise=0.01), np.random.default_rng(0))
    assert np.ptp(image, axis=1).max() < 1e-6
    assert image[:, 0].std() == pytest.approx(0.01, rel=0.05)


def test_display_noise_is_in_display_units_and_correlated_along_the_line():
    flat = np.full((300, 300), 0.5, np.float32)
    image = physics.acquire(flat, np.ones_like(flat), quiet(display_noise=0.01), np.random.default_rng(0))
    noise = image - image.mean()
    assert noise.std() == pytest.approx(0.01, rel=0.03)
    assert (noise[:, 1:] * noise[:, :-1]).mean() / noise.var() == pytest.approx(0.3, abs=0.03)
    assert (noise[1:] * noise[:-1]).mean() / noise.var() == pytest.approx(0, abs=0.03)
