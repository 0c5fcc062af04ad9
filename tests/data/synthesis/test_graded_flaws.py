"""Graded flaws have the contrast and place that were asked for, or are refused."""

import numpy as np
import pytest

from data.synthesis.graded_flaws import plant_flaw
from data.synthesis.visible_defects import survey


def flat(noise: float, level: float = 0.5) -> np.ndarray:
    rng = np.random.default_rng(0)
    image = np.full((160, 200), level) + rng.normal(0, noise, (160, 200))
    image[:, :3] = 0  # black and white, between which the radiograph lies
    image[:, -3:] = 1
    return image.clip(0, 1).astype(np.float32)


@pytest.mark.parametrize("ratio", [2.0, 6.0, 15.0])
def test_the_contrast_is_the_wanted_multiple_of_the_local_noise(ratio: float) -> None:
    image = flat(0.01)
    offer = survey(image)
    changed = image.copy()
    taken = np.zeros(offer.noise.shape, bool)
    flaw = plant_flaw(changed, offer, np.random.default_rng(1), 24, ratio, (100, 80), taken, 65535)
    assert flaw is not None
    assert flaw.cnr == pytest.approx(ratio, rel=0.02)
    assert float((changed - image).max()) == pytest.approx(ratio * 0.01, rel=0.15)
    x1, y1, x2, y2 = flaw.box
    assert x1 < 100 < x2
    assert y1 < 80 < y2
    untouched = changed != image
    untouched[y1 - 12 : y2 + 12, x1 - 12 : x2 + 12] = False
    assert not untouched.any()
    assert taken.any()


def test_no_room_is_no_flaw() -> None:
    image = flat(0.01)
    offer = survey(image)
    rng = np.random.default_rng(1)
    taken = np.zeros(offer.noise.shape, bool)
    before = image.copy()
    assert plant_flaw(image, offer, rng, 30, 5, (8, 8), taken) is None  # leaves the frame
    assert plant_flaw(image, offer, rng, 20, 90, (100, 80), taken) is None  # 0.5 + 0.9 saturates
    assert np.array_equal(image, before)
    assert plant_flaw(image, offer, rng, 20, 9, (100, 80), taken) is not None
    assert plant_flaw(image, offer, rng, 20, 9, (102, 82), taken) is None  # lies on the other one
