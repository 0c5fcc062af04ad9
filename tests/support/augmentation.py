"""Augmenting painted scenes, for tests."""

import numpy as np
from hypothesis import strategies as st

from data.transforms import AugmentationConfig, build_transform

NO_BOXES = np.zeros((0, 4), dtype=np.float32)


def augment(config, pixels, boxes=NO_BOXES, masks=None, seed=0):
    boxes = np.asarray(boxes, dtype=np.float32).reshape(-1, 4)
    labels = np.arange(1, len(boxes) + 1)
    transform = build_transform(AugmentationConfig(**config))
    return transform(np.asarray(pixels, dtype=np.float32), boxes, labels, np.random.default_rng(seed), masks)


def painted(shape, boxes):
    """A dark image with the boxes, at whole pixels, painted white."""
    image = np.zeros(shape, dtype=np.float32)
    for x1, y1, x2, y2 in np.asarray(boxes, dtype=int):
        image[y1:y2, x1:x2] = 1
    return image


def bright_outside(sample, tolerance=0.0):
    """Number of bright pixels whose center lies in no box."""
    rows, columns = np.nonzero(sample.pixels > 0.5)
    x, y = columns[:, None] + 0.5, rows[:, None] + 0.5
    x1, y1, x2, y2 = sample.boxes.T
    inside = (x > x1 - tolerance) & (x < x2 + tolerance) & (y > y1 - tolerance) & (y < y2 + tolerance)
    return int((~inside.any(axis=1)).sum())


@st.composite
def scenes(draw):
    height, width = draw(st.integers(5, 60)), draw(st.integers(5, 60))
    boxes = []
    for _ in range(draw(st.integers(0, 6))):
        w, h = draw(st.integers(1, min(width, 20))), draw(st.integers(1, min(height, 20)))
        x, y = draw(st.integers(0, width - w)), draw(st.integers(0, height - h))
        boxes.append((x, y, x + w, y + h))
    return (height, width), boxes
