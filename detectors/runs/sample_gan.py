"""New patches out of a trained GAN."""

from pathlib import Path

import numpy as np

from data.errors import InputError
from data.patch_files import PatchSet, to_levels
from data.patch_windows import DEFECT
from detectors.gan.model import DCGAN
from detectors.gan.networks import sample_patches
from detectors.runs.checkpoint import load_model


def sample_run(run: Path, count: int, seed: int = 0, bits: int = 8) -> PatchSet:
    """Return `count` patches with a defect from the best weights of a run (or a checkpoint), of origin "gan".

    They depend on the weights and the seed; more of them start with the same ones. `bits` is 8 or 16. Raises
    InputError for a missing run and for one of another kind.
    """
    model, config, _ = load_model(run)
    if not isinstance(model, DCGAN):
        raise InputError(f"{run}: a run of '{config.model.name}', which makes no patches; give one of dcgan.yaml")
    pixels = to_levels(sample_patches(model.generator, count, seed), bits)
    files = np.array([f"gan-{seed}-{k:06d}" for k in range(count)])
    places = np.full((count, 3), np.nan, dtype=np.float32)
    return PatchSet(pixels, np.full(count, DEFECT), files, places, np.full(count, "gan"))
