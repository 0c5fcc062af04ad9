"""Patches out of radiographs with fresh simulated defects."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.coco import CocoDataset
from data.errors import InputError
from data.gray_window import GrayWindow
from data.patch_files import PatchSet, scaled, to_levels
from data.patch_windows import DEFECT, NEGATIVE
from data.patches import MAX_ATTEMPTS, PatchConfig, RadiographPatches
from data.streams import stream
from data.synthesis.on_the_fly import OnTheFlyDefects
from data.synthesis.simulation_config import SimulationConfig

MAX_SIMULATIONS = 8  # simulations of a radiograph that shows no defect, before it is left without one


class SimulatedRadiograph(NamedTuple):
    """A radiograph with simulated defects: its gray levels and the boxes float64 [N, 4] x1 y1 x2 y2 to cut around."""

    levels: np.ndarray
    boxes: np.ndarray


class SimulatedPatches(RadiographPatches):
    """Patches drawn on the fly from radiographs that get fresh simulated defects every epoch.

    A *defect* patch is drawn in a random radiograph around one of its simulated defects, or of the real ones where
    they are kept. *No-defect* patches are cut from the radiograph as it is and never meet a real defect, an inpainted
    one neither. The defects of a radiograph depend on (`seed`, epoch, radiograph) alone; each worker simulates a
    radiograph when its first *defect* patch of an epoch is drawn, and keeps it: in every worker as much memory again
    as the radiographs take.

    A radiograph without a defect has no *defect* patch. An `image_fraction` above 0 is therefore that of the
    radiographs with real defects that get simulated ones beside them; all others get some, and are simulated again
    where none shows.
    `margin` pixels are added to each side of a simulated box. Without any defect, as where it is 0 and real
    ones are inpainted, the source has *no-defect* patches alone.

    Raises InputError as `RadiographPatches`, and where no radiograph has room for the simulated defects asked for.
    """

    def __init__(
        self,
        dataset: CocoDataset,
        image_dir: Path,
        config: PatchConfig,
        simulation: SimulationConfig,
        margin: float = 0.0,
        seed: int = 0,
        window: GrayWindow | None = None,
        repeat: int = 1,
        keep_negatives: bool = True,
    ) -> None:
        self.seed = seed
        self._share = simulation.image_fraction
        wanted = simulation.image_fraction > 0 and simulation.per_image[1] > 0
        self._simulator = OnTheFlyDefects(simulation.model_copy(update={"image_fraction": float(wanted)}), margin)
        self._max_simulations = MAX_SIMULATIONS if wanted else 1
        self._kept: dict[int, tuple[int, SimulatedRadiograph]] = {}
        self._first: tuple[int, SimulatedRadiograph] | None = None  # one with defects, whatever a later epoch brings
        super().__init__(dataset, image_dir, config, window, repeat, keep_negatives)
        radiographs = ((image, self._radiograph(image, 0)) for image in range(len(self.files)))
        self._first = next(((image, radiograph) for image, radiograph in radiographs if len(radiograph.boxes)), None)
        if wanted and self._first is None:
            raise InputError(
                f"{self.path}: none of {len(self.files)} radiographs has room for a simulated defect; raise "
                "data.train.simulate.per_image, or make semi_axis smaller"
            )

    def has(self, label: int) -> bool:
        """Return whether there is a place for patches of this class."""
        return self._first is not None if label == DEFECT else super().has(label)

    def sample_set(self, seed: int, origin: str = "ellipsoid", per_class: int | None = None) -> PatchSet:
        """Return a balanced, fixed choice of patches; `origin` is that of the defects, the others are real."""
        patches = super().sample_set(seed, origin, per_class)
        patches.origins[patches.labels == NEGATIVE] = "real"
        return patches

    def _analyze(self, image: int, pixels: np.ndarray, full: int) -> None:
        self._simulator.analyze(image, pixels, self._boxes[image], full)

    def _levels_for(self, image: int, label: int, epoch: int) -> np.ndarray:
        return self._levels[image] if label == NEGATIVE else self._radiograph(image, epoch).levels

    def _choose_defect(self, rng: np.random.Generator, epoch: int) -> tuple[int, np.ndarray]:
        for _ in range(MAX_ATTEMPTS):
            image = int(rng.integers(len(self.files)))
            boxes = self._radiograph(image, epoch).boxes
            if len(boxes):
                return image, boxes[int(rng.integers(len(boxes)))]
        if self._first is None:
            raise InputError(f"{self.path}: no radiograph with a defect; raise data.train.simulate.image_fraction")
        image = self._first[0]
        boxes = self._radiograph(image, epoch).boxes
        return image, boxes[int(rng.integers(len(boxes)))]

    def _radiograph(self, image: int, epoch: int) -> SimulatedRadiograph:
        """Return a radiograph with the defects of an epoch; those of the first one where no other shows."""
        known = self._kept.get(image)
        if known is not None and known[0] == epoch:
            return known[1]
        for attempt in range(self._max_simulations):
            radiograph = self._simulated(image, stream(self.seed, "simulated radiograph", epoch, image, attempt))
            if len(radiograph.boxes):
                break
        else:
            if self._first is not None and self._first[0] == image:
                radiograph = self._first[1]
        self._kept[image] = epoch, radiograph
        return radiograph

    def _simulated(self, image: int, rng: np.random.Generator) -> SimulatedRadiograph:
        """Return a radiograph with fresh defects, and with the real ones where they are kept."""
        levels = self._levels[image]
        kept = self._boxes[image][~self._crowds[image]] if self._simulator.keeps_real else np.zeros((0, 4))
        if len(kept) and rng.random() >= self._share:
            return SimulatedRadiograph(levels, kept)
        pixels, boxes, _ = self._simulator(image, scaled(levels), rng)
        whole = to_levels(pixels, 8 if levels.dtype == np.uint8 else 16)
        return SimulatedRadiograph(whole, np.concatenate([kept, boxes.astype(np.float64)]))
