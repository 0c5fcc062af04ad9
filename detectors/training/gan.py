"""The GAN task: patches of defects in, a generator of more of them out; evaluated against patches it never saw."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from data.errors import InputError
from data.files import write_json
from data.patch_datasets import StoredPatches
from data.patch_files import PatchSet, join_patches, scaled, to_levels
from data.patch_folds import split_folds
from data.patch_windows import DEFECT
from data.patches import RadiographPatches
from data.pictures import write_picture
from detectors.config.experiment import ExperimentConfig
from detectors.config.sources import refuse_simulation
from detectors.evaluation.gan_scores import Memorization, find_memorized, gan_metrics, two_sample_test, write_nearest
from detectors.evaluation.metrics import Metrics
from detectors.gan.networks import Generator, sample_patches
from detectors.training.patches import Batch, PatchTask

HELD_OUT = 1000  # real patches that samples are compared with, at most
SAMPLES = 500  # samples that are evaluated, at least
KNOWN_CUT = 2000  # patches of a source's radiographs among which the nearest is looked for, at most
KNOWN_PIXELS = 20_000 * 32**2  # of all patches among which it is looked for, at most: 80 MB
SHOWN, COLUMNS, SCALE = 64, 16, 3


class GANTask(PatchTask):
    """Generative networks. Their patches come from a patch classifier's sources, defects alone.

    Held-out real patches are those of `data.val`, or the fold `data.patches.validation_fold`; the last metrics are
    of `data.test` where it is given. The generator learns from none of them.
    """

    metrics = ("indistinguishability", "two_sample_loss")
    classes = (DEFECT,)

    def __init__(self, config: ExperimentConfig) -> None:
        _check_sizes(config)
        refuse_simulation(config.data)
        super().__init__(config)
        self._known = _known_defects(self._sources, config.data.patches.size)
        self._held_out = None if self._val is None else _HeldOut(self._val)

    def losses(self, model: nn.Module, batch: Batch, device: torch.device) -> dict[str, Tensor]:
        """Return the losses of both networks, to be summed."""
        return model(batch[0].to(device, non_blocking=True))

    def validate(self, model: nn.Module, accelerator: Accelerator) -> Metrics | None:
        """Return the metrics against the held-out patches, or None where the configuration names none."""
        if self._held_out is None or not accelerator.is_main_process:
            return None
        samples = self._samples(model, self._held_out)
        return self._figures(samples, self._held_out)[0]

    def samples(self, model: nn.Module, folder: Path, epoch: int) -> np.ndarray:
        """Write samples of an epoch, always of the same noise, into `samples/`; return them, uint8 [H, W, 3]."""
        picture = patch_grid(sample_patches(_generator(model), SHOWN, self.config.seed))
        write_picture(folder / "samples" / f"epoch_{epoch:04d}.png", picture)
        return picture

    def finish(self, model: nn.Module, accelerator: Accelerator, folder: Path) -> Metrics | None:
        """Evaluate samples against the defects of the test data, without it of the validation data; write all results.

        Writes `plots/samples.png`, `plots/nearest.png` (the samples that come nearest to a training patch, beside
        it) and last `metrics.json`.
        """
        if not accelerator.is_main_process:
            return None
        test = self.config.data.test
        held_out = self._held_out if test is None else _HeldOut(self._validation_patches(test))
        if held_out is None:
            return None
        samples, known = self._samples(model, held_out), self._known.floats(slice(None))
        metrics, memorized = self._figures(samples, held_out)
        metrics["two_sample_reference"] = self._reference(held_out)
        write_picture(folder / "plots" / "samples.png", patch_grid(samples[:SHOWN]))
        write_nearest(folder / "plots" / "nearest.png", samples, known, memorized)
        write_json(folder / "metrics.json", metrics, indent=2)
        return metrics

    def preview(self, batch: Batch, count: int = SHOWN) -> np.ndarray:
        """Return some training patches side by side, uint8 [H, W, 3]."""
        return patch_grid(batch[0][:count, 0].numpy())

    def _check_validation(self, patches: PatchSet) -> None:
        """Take validation patches of defects alone: `_HeldOut` checks that there are enough."""

    def _samples(self, model: nn.Module, held_out: "_HeldOut") -> np.ndarray:
        """Return as many samples as there are held-out patches or more, rounded to gray levels as those are."""
        samples = sample_patches(_generator(model), max(len(held_out.pixels), SAMPLES), self.config.seed)
        return scaled(to_levels(samples, held_out.bits))

    def _figures(self, samples: np.ndarray, held_out: "_HeldOut") -> tuple[Metrics, Memorization]:
        test = two_sample_test(held_out.pixels, samples, held_out.half, None, self.config.seed)
        memorized = find_memorized(samples, self._known.floats(slice(None)), held_out.pixels)
        return gan_metrics(test, memorized), memorized

    def _reference(self, held_out: "_HeldOut") -> float | None:
        """Return how well training patches are told from held-out ones, None where they are all of one place."""
        try:
            half = split_folds(self._known, 2) == 1
        except InputError:
            return None
        known = self._known.floats(slice(None))
        return two_sample_test(held_out.pixels, known, held_out.half, half, self.config.seed).accuracy


class _HeldOut:
    """Real defects that the generator never sees, in two halves that share no radiograph or place.

    Raises InputError where there are none, or too few places for two halves.
    """

    def __init__(self, patches: PatchSet) -> None:
        defects = _defects(patches, HELD_OUT)
        if not len(defects):
            raise InputError(f"{patches.path}: no defect patch (class 1) to compare samples with; add some")
        self.pixels = defects.floats(slice(None))
        self.bits = 8 * defects.pixels.dtype.itemsize
        self.half = split_folds(defects, 2) == 1


def _generator(model: nn.Module) -> Generator:
    return cast(Generator, model.generator)


def patch_grid(pixels: np.ndarray) -> np.ndarray:
    """Return patches float [N, S, S] in [0, 1] as an enlarged grid, uint8 [H, W, 3], a line between them."""
    rows = -(-len(pixels) // COLUMNS)
    size = pixels.shape[-1]
    cells = np.zeros((rows * COLUMNS, size + 1, size + 1), np.uint8)
    cells[: len(pixels), :size, :size] = np.rint(np.clip(pixels, 0, 1) * 255)
    grid = cells.reshape(rows, COLUMNS, size + 1, size + 1).swapaxes(1, 2).reshape(rows * (size + 1), -1)
    return np.repeat(np.repeat(grid, SCALE, axis=0), SCALE, axis=1)[..., None].repeat(3, axis=2)


def _check_sizes(config: ExperimentConfig) -> None:
    """Raise InputError where the network makes patches of another size than those that it learns from."""
    size = getattr(config.model, "size", None)
    if config.data.patches.size != size:
        raise InputError(f"model.size is {size}, but data.patches.size is {config.data.patches.size}; set both alike")


def _known_defects(sources: Sequence[StoredPatches | RadiographPatches], size: int) -> PatchSet:
    """Return training patches of defects: those stored, a fixed choice of those cut, up to `KNOWN_PIXELS` in all."""
    sources = [source for source in sources if source.has(DEFECT)]
    most = max(KNOWN_PIXELS // size**2 // len(sources), 1)
    cut = min(KNOWN_CUT, most)
    found = [
        _defects(s.patches if isinstance(s, StoredPatches) else s.sample_set(0, per_class=cut), most) for s in sources
    ]
    # Files of two sources may have the same name.
    return join_patches(
        [replace(patches, files=np.array([f"{k}/{name}" for name in patches.files])) for k, patches in enumerate(found)]
    )


def _defects(patches: PatchSet, most: int) -> PatchSet:
    """Return the defects of a set, evenly chosen where there are more than `most`."""
    places = np.flatnonzero(patches.labels == DEFECT)
    if len(places) > most:
        places = places[np.linspace(0, len(places) - 1, most).round().astype(int)]
    return patches.subset(places)
