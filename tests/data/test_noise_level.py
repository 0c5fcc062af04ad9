"""The noise of gray values."""

import numpy as np
import pytest

from data.noise_level import noise_level


def test_noise_level_overlooks_the_background():
    rng = np.random.default_rng(0)
    plane = np.linspace(0, 1, 80, dtype=np.float32)[None] * np.linspace(0.2, 1, 60, dtype=np.float32)[:, None]
    assert noise_level(plane + rng.normal(0, 0.02, plane.shape)) == pytest.approx(0.02, rel=0.1)
    assert noise_level(np.zeros((2, 9))) == 0
