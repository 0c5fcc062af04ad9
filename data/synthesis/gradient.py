"""How steeply the gray values of an image change."""

import cv2
import numpy as np


def gradient_magnitude(image: np.ndarray) -> np.ndarray:
    """Return the gradient magnitude per pixel, float32 `[H, W]`."""
    dx, dy = (cv2.Sobel(image, cv2.CV_32F, a, b, scale=0.125) for a, b in ((1, 0), (0, 1)))
    return cv2.magnitude(dx, dy)
