import numpy as np
import pytest

from data.synthesis.acquisition import Acquisition, AcquisitionConfig, acquire, draw_acquisition, ideal_signal
from data.synthesis.canvas import Canvas, step
from data.synthesis.on_the_fly import OnTheFlyDefects
from data.synthesis.phantom import make_phantom
from data.synthesis.scene import LEAST_DETECTABILITY, SCENE_DEFECTS, draw_shape, make_scene
from data.synthesis.simulation_config import SimulationConfig
from data.synthesis.solids import WALLS, make_part
from data.synthesis.visible_defects import implant_visible, survey

QUIET = {
    "blur_x": 1.0, "blur_y": 1.0, "scatter": 0.0, "glare": 0.0, "low": 0.0, "high": 1.0, "gamma": 1.0, "black": 0.0,
    "white": 1.0, "quantum": 0.0, "electronic": 0.0, "reach_x": 0.0, "reach_y": 0.0, "mottle": 0.0, "field": None,
    "vignetting": 0.0, "interlace": 0.0, "jitter": 0.0, "line_noise": 0.0, "halo": 0.0,
}  # fmt: skip


def test_a_scene_is_a_function_of_its_seed() -> None:
    first, second = (make_scene(np.random.default_rng(3), (128, 160)) for _ in range(2))
    assert np.array_equal(first.pixels, second.pixels)
    assert np.array_equal(first.boxes, second.boxes)
    assert first.pixels.shape == (128, 160)
    assert 0 <= first.pixels.min() <= first.pixels.max() <= 1


def test_pixels_lie_on_whole_gray_levels() -> None:
    levels = make_scene(np.random.default_rng(5), (128, 128)).pixels * 255
    assert np.abs(levels - np.round(levels)).max() < 1e-3


def test_every_wall_has_metal_and_no_negative_thickness() -> None:
    for name in WALLS:
        part = make_part(np.random.default_rng(7), (96, 96), leading=name)
        assert part.min() >= 0
        assert part.max() > 0.5
        assert np.isfinite(part).all()


def test_a_step_is_linear_over_its_width() -> None:
    assert step(np.array([-3.0, -2.0, 0.0, 1.0, 2.0, 3.0]), 4.0).tolist() == [1.0, 1.0, 0.5, 0.25, 0.0, 0.0]


def test_a_canvas_turned_by_a_right_angle_swaps_its_axes() -> None:
    x, y = Canvas.of((5, 7)).turned((3.0, 2.0), np.pi / 2)
    assert x[4, 3] == pytest.approx(2.0, abs=1e-5)
    assert y[2, 6] == pytest.approx(-3.0, abs=1e-5)


def test_the_window_saturates_at_both_ends() -> None:
    acquisition = Acquisition(**{**QUIET, "low": 0.2, "high": 0.6, "black": 0.1, "white": 0.9, "gamma": 2.0})
    shown = acquisition.display(np.array([0.0, 0.2, 0.4, 0.6, 1.0], np.float32))
    assert shown == pytest.approx([0.1, 0.1, 0.1 + 0.8 * 0.25, 0.9, 0.9], abs=1e-6)


def test_noise_in_the_display_is_what_sigma_says() -> None:
    acquisition = Acquisition(**{**QUIET, "quantum": 0.03, "electronic": 0.01})
    image = acquire(np.full((256, 256), 0.5, np.float32), acquisition, np.random.default_rng(0))
    assert acquisition.sigma(0.5) == pytest.approx(np.sqrt(0.03**2 * 0.5 + 0.01**2), rel=0.02)
    assert image.std() == pytest.approx(acquisition.sigma(0.5), rel=0.02)


def test_noise_follows_the_dose_where_it_is_quantum_noise() -> None:
    acquisition = Acquisition(**{**QUIET, "quantum": 0.05})
    assert acquisition.sigma(0.8) / acquisition.sigma(0.2) == pytest.approx(2.0, rel=0.02)


def test_noise_of_video_is_correlated_along_the_lines_alone() -> None:
    acquisition = Acquisition(**{**QUIET, "electronic": 0.05, "reach_x": 0.7})
    noise = acquire(np.full((256, 256), 0.5, np.float32), acquisition, np.random.default_rng(1)) - 0.5
    across = float((noise[:, 1:] * noise[:, :-1]).mean() / noise.var())
    down = float((noise[1:] * noise[:-1]).mean() / noise.var())
    assert across > 0.6
    assert abs(down) < 0.05


def test_interlace_shifts_odd_lines_against_even_ones() -> None:
    edge = np.tile((np.arange(64) >= 32).astype(np.float32) * 0.5 + 0.25, (64, 1))
    image = acquire(edge, Acquisition(**{**QUIET, "interlace": 4.0}), np.random.default_rng(0))
    rise = (image > 0.5).argmax(1)
    assert set(rise[1::2] - rise[::2]) == {4}
    still = acquire(edge, Acquisition(**QUIET), np.random.default_rng(0))
    assert len(set((still > 0.5).argmax(1))) == 1


def test_beyond_the_round_field_it_is_black() -> None:
    acquisition = Acquisition(**{**QUIET, "field": (32.0, 32.0, 20.0)})
    image = acquire(np.full((64, 64), 0.7, np.float32), acquisition, np.random.default_rng(0))
    assert image[32, 32] == pytest.approx(0.7, abs=0.01)
    assert image[2, 2] == 0


def test_attenuation_is_exponential_without_hardening() -> None:
    signal = ideal_signal(np.full((64, 64), 2.0, np.float32), (1.0, 1.0), 0.0, 0.0, 0.0)
    assert signal[32, 32] == pytest.approx(np.exp(-2.0), rel=1e-5)
    stray = ideal_signal(np.full((64, 64), 2.0, np.float32), (1.0, 1.0), 0.1, 0.2, 0.0)
    assert stray[32, 32] == pytest.approx(1.3 * np.exp(-2.0), rel=1e-4)


def test_every_step_of_the_chain_can_be_switched_off() -> None:
    off = AcquisitionConfig(one_wall_window=0, round_field=0, video=0, halo=0, interlace=0, noise=(0.5, 0.6))
    signal = ideal_signal(make_part(np.random.default_rng(2), (96, 96)), (1.0, 1.0), 0.0, 0.0, 0.0)
    for seed in range(20):
        drawn = draw_acquisition(np.random.default_rng(seed), signal, off, (1.0, 1.0), 0.0, 0.0)
        assert drawn.field is None
        assert (drawn.interlace, drawn.jitter, drawn.line_noise, drawn.halo) == (0, 0, 0, 0)
        assert drawn.reach_x <= 0.4


def test_a_window_on_one_wall_saturates_more_than_one_on_the_whole_part() -> None:
    shares = []
    for share in (0.0, 1.0):
        config = AcquisitionConfig(one_wall_window=share, round_field=0)
        saturated = []
        for seed in range(30):
            scene = make_scene(np.random.default_rng(seed), (96, 96), config)
            ends = (scene.pixels <= scene.pixels.min() + 0.004) | (scene.pixels >= scene.pixels.max() - 0.004)
            saturated.append(ends.mean())
        shares.append(np.mean(saturated))
    assert shares[1] > 1.5 * shares[0]


def test_what_is_labeled_can_be_seen_and_what_is_not_labeled_is_not_there() -> None:
    quiet = AcquisitionConfig(noise=(0.5, 0.6), video=0, halo=0, round_field=0)  # a surround has specks of its own
    seen = 0
    for seed in range(25):
        scene = make_scene(np.random.default_rng(seed), (128, 128), quiet)
        change = np.abs(scene.pixels - scene.twin)
        for x1, y1, x2, y2 in scene.boxes.astype(int):
            assert change[y1:y2, x1:x2].max() > 1.5 / 255
            seen += 1
        for x1, y1, x2, y2 in scene.boxes.astype(int):
            change[max(y1 - 14, 0) : y2 + 14, max(x1 - 14, 0) : x2 + 14] = 0
        if scene.acquisition.sigma(0.5) < 2 / 255:
            assert np.quantile(change, 0.999) < 10 * scene.acquisition.sigma(0.5) + 4 / 255
        assert all(d.detectability >= LEAST_DETECTABILITY for d in scene.defects)
    assert seen > 20


def test_contrast_to_noise_spans_barely_visible_to_plain() -> None:
    cnr = [d.cnr for s in range(60) for d in make_scene(np.random.default_rng(s), (128, 128)).defects]
    assert min(cnr) < 3
    assert max(cnr) > 10


@pytest.mark.parametrize("kind", SCENE_DEFECTS)
def test_a_shape_is_as_large_as_asked(kind: str) -> None:
    for seed in range(5):
        chord = SCENE_DEFECTS[kind].shape(np.random.default_rng(seed), 40.0)
        ys, xs = np.nonzero(chord > 0.1 * chord.max())
        extent = max(np.ptp(ys), np.ptp(xs)) + 1
        assert 16 <= extent <= 72
        assert chord.min() >= 0


def test_sizes_are_log_uniform_between_6_and_150_pixels() -> None:
    rng = np.random.default_rng(0)
    sizes = [max(draw_shape(rng, 1.0, 150.0)[1].shape) for _ in range(300)]
    assert min(sizes) < 16
    assert max(sizes) > 120


def test_varied_castings_are_phantoms_like_others() -> None:
    phantom = make_phantom("varied_castings", 0, 3)
    assert phantom.family == "turned_part"
    assert phantom.pixels.shape == (256, 256)
    assert len(phantom.boxes) == len(phantom.labels) == len(phantom.masks)
    again = make_phantom("varied_castings", 0, 3)
    assert np.array_equal(phantom.pixels, again.pixels)


def radiograph(noise: float) -> np.ndarray:
    y, x = np.mgrid[:160, :200]
    image = 0.3 + 0.2 * (x > 100) + 0.0005 * y
    return np.clip(image + np.random.default_rng(0).normal(0, noise, image.shape), 0, 1).astype(np.float32)


@pytest.mark.parametrize("noise", [0.004, 0.02])
def test_the_local_noise_of_a_radiograph_is_measured(noise: float) -> None:
    offer = survey(radiograph(noise))
    assert np.median(offer.noise) == pytest.approx(noise, rel=0.25)


def test_defects_in_a_radiograph_change_it_inside_their_boxes_only() -> None:
    pixels = radiograph(0.01)
    kept = pixels.copy()
    image, defects = implant_visible(pixels, survey(pixels), np.random.default_rng(1), 4)
    assert len(defects) == 4
    assert np.array_equal(pixels, kept)
    change = np.abs(image - pixels)
    for defect in defects:
        x1, y1, x2, y2 = defect.box
        assert change[y1:y2, x1:x2].max() > 0.7 * defect.peak
        assert defect.detectability >= LEAST_DETECTABILITY
    for x1, y1, x2, y2 in (defect.box for defect in defects):
        change[max(y1 - 20, 0) : y2 + 20, max(x1 - 20, 0) : x2 + 20] = 0
    assert change.max() < 0.02


def test_stronger_noise_asks_for_stronger_defects() -> None:
    peaks = []
    for noise in (0.004, 0.03):
        pixels = radiograph(noise)
        offer = survey(pixels)
        found = [d.peak for s in range(8) for d in implant_visible(pixels, offer, np.random.default_rng(s), 4)[1]]
        peaks.append(np.quantile(found, 0.1))
    assert peaks[1] > 2 * peaks[0]


def test_forbidden_boxes_stay_clear_and_a_saturated_radiograph_takes_none() -> None:
    pixels = radiograph(0.01)
    forbidden = np.array([[0, 0, 100, 160]], np.float32)
    for seed in range(6):
        _, defects = implant_visible(pixels, survey(pixels, forbidden), np.random.default_rng(seed), 5)
        centers = [(d.box[0] + d.box[2]) / 2 for d in defects if d.box[2] - d.box[0] < 30]
        assert all(center > 95 for center in centers)
    white = np.ones((64, 64), np.float32)
    assert implant_visible(white, survey(white), np.random.default_rng(0), 5)[1] == []


def test_a_configuration_chooses_varied_shapes_for_a_source() -> None:
    fresh = OnTheFlyDefects(SimulationConfig(shapes="varied", per_image=(3, 3)), box_padding=2.0)
    pixels = radiograph(0.01)
    fresh.analyze(0, pixels, np.zeros((0, 4), np.float32), 255)
    simulated = fresh(0, pixels, np.random.default_rng(0))
    assert len(simulated.boxes) == len(simulated.masks) == 3
    tight = np.array([mask.box for mask in simulated.masks])
    inside = (tight[:, :2] >= 2).all() and (tight[:, 2:] <= np.array([198, 158])).all()
    assert not inside or np.array_equal(simulated.boxes, tight + np.array([-2, -2, 2, 2]))


def test_real_defects_are_covered_before_varied_ones_come() -> None:
    pixels = radiograph(0.004)
    pixels[60:80, 30:50] += 0.2
    fresh = OnTheFlyDefects(SimulationConfig(shapes="varied", per_image=(0, 0), real_defects="inpaint"))
    fresh.analyze(0, pixels, np.array([[30, 60, 50, 80]], np.float32), 255)
    image = fresh(0, pixels, np.random.default_rng(0)).pixels
    assert image[62:78, 32:48].mean() < pixels[62:78, 32:48].mean() - 0.15


def test_varied_shapes_are_brighter_only() -> None:
    with pytest.raises(ValueError, match="brighter"):
        SimulationConfig(shapes="varied", polarity="darker")
