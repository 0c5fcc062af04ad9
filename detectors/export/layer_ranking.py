"""Which layers of a graph lose most by rounding, for the work that they are: measured, one or a few at a time."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from data.console import progress
from detectors.export.box_shift import box_shift
from detectors.export.int8 import Quantizer
from detectors.runtime.predictor import ExportedPredictor
from detectors.runtime.session import open_session

GROUPS = 32
"""Most parts of a graph that are measured; with more layers, a part is some that follow one another."""
RADIOGRAPHS = 12
"""That they are measured on, at most."""


def rank_layers(
    quantizer: Quantizer, exported: ExportedPredictor, images: Sequence[np.ndarray], scratch: Path
) -> list[list[str]]:
    """Return the inner layers in groups, those first that move boxes most for their multiply-adds if they are rounded.

    Rounding errors of layers add up like independent ones, by their squares: that of the shift, over the multiply-adds,
    is what a group in float32 saves for what it costs.

    Args:
        quantizer: of the graph.
        exported: the model in float32.
        images: float32 [H, W] after the window; some of them are used, evenly spread.
        scratch: a folder for files on the way.

    """
    size = -(-len(quantizer.inner) // GROUPS)
    groups = [quantizer.inner[k : k + size] for k in range(0, len(quantizer.inner), size)]
    count = min(len(images), RADIOGRAPHS)
    chosen = [images[k * len(images) // count] for k in range(count)]
    before = [exported.in_pixels(image).detections for image in chosen]
    gains = []
    with progress(transient=True) as bar:
        for group in bar.track(groups, description="rounding layer after layer"):
            others = set(quantizer.layers) - set(group)
            quantizer.write(scratch / "part.onnx", others, corrected=False)
            with exported.using(open_session(scratch / "part.onnx", exported.engine, exported.threads)):
                after = [exported.in_pixels(image).detections for image in chosen]
            shift = box_shift(zip(before, after, strict=True))
            gains.append(shift**2 / max(sum(quantizer.products[name] for name in group), 1))
    return [groups[k] for k in np.argsort(-np.array(gains), kind="stable")]


def first_layers(groups: Sequence[Sequence[str]], products: Mapping[str, int], share: float) -> list[str]:
    """Return the layers of as many groups, at least one, as come closest to a share of the multiply-adds of all."""
    if not share:
        return []
    sums = np.cumsum([sum(products[name] for name in group) for group in groups])
    count = int(np.abs(sums - share * sums[-1]).argmin()) + 1
    return [name for group in groups[:count] for name in group]
