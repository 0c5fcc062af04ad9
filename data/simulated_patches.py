"""Patches out of radiographs with fresh simulated defects."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.coco import CocoDataset
from data.errors import InputError
from data.patch_files import PatchSet, scaled, to_levels
from data.patches import CLEAN, DEFECT, DRAWS, PatchConfig, RadiographPatches
from data.radiograph import PercentileWindow
from data.synthesis.fresh_defects import FreshDefects
from data.synthesis.simulation_config import SimulationConfig

_SCENES = 2**32 - 1  # apart from the samples' random numbers, whose second word is a small epoch


class Scene(NamedTuple):
    """A radiograph with simulated defects: its grey levels and the boxes float64 [N, 4] x1 y1 x2 y2 to cut around."""

    levels: np.ndarray
    boxes: np.ndarray


class SimulatedPatches(RadiographPatches):
    """Patches drawn on the fly from radiographs that get fresh simulated defects every epoch.

    A *defect* patch is drawn in a random radiograph around one of its simulated defects, or of the real ones where
    they are kept. *No-defect* patches are cut from the radiograph as it is and never meet a real defect, an inpainted
    one neither. The defects of a radiograph depend on (`seed`, epoch, radiograph) alone; each worker simulates a
    radiograph when its first *defect* patch of an epoch is drawn, and keeps it: as much memory again as the
    radiographs take.

    `margin` pixels are added to each side of a simulated box. Without any defect, as where the simulation's share is
    0 and real ones are inpainted, the source has *no-defect* patches alone.

    Raises InputError as `RadiographPatches`.
    """

    def __init__(
        self,
        dataset: CocoDataset,
        image_dir: Path,
        config: PatchConfig,
        simulation: SimulationConfig,
        margin: float = 0.0,
        seed: int = 0,
        window: PercentileWindow | None = None,
        repeat: int = 1,
        keep_negatives: bool = True,
    ) -> None:
        self.seed = seed
        self._fresh = FreshDefects(simulation, margin)
        self._scenes: dict[int, tuple[int, Scene]] = {}
        super().__init__(dataset, image_dir, config, window, repeat, keep_negatives)
        self._has_defects = any(len(self._scene(image, 0).boxes) for image in range(len(self.files)))

    def has(self, label: int) -> bool:
        """Return whether there is a place for patches of this class."""
        return self._has_defects if label == DEFECT else super().has(label)

    def sample_set(self, seed: int, origin: str = "ellipsoid", per_class: int | None = None) -> PatchSet:
        """Return a balanced, fixed choice of patches; `origin` is that of the defects, the others are real."""
        patches = super().sample_set(seed, origin, per_class)
        patches.origins[patches.labels == CLEAN] = "real"
        return patches

    def _study(self, image: int, pixels: np.ndarray, full: int) -> None:
        self._fresh.study(image, pixels, self._boxes[image], full)

    def _shown(self, image: int, label: int, epoch: int) -> np.ndarray:
        return self._levels[image] if label == CLEAN else self._scene(image, epoch).levels

    def _draw_defect(self, rng: np.random.Generator, epoch: int) -> tuple[int, np.ndarray]:
        for _ in range(DRAWS):
            image = int(rng.integers(len(self.files)))
            boxes = self._scene(image, epoch).boxes
            if len(boxes):
                return image, boxes[int(rng.integers(len(boxes)))]
        raise InputError(
            f"{self.path}: {DRAWS} radiographs in turn without a simulated defect; raise data.train.simulate.share "
            "or per_image, or make half_axis smaller, so that more of them find room"
        )

    def _scene(self, image: int, epoch: int) -> Scene:
        """Return a radiograph with the defects of an epoch."""
        known = self._scenes.get(image)
        if known is not None and known[0] == epoch:
            return known[1]
        levels = self._levels[image]
        rng = np.random.default_rng([self.seed, _SCENES, epoch, image])
        pixels, boxes, _ = self._fresh(image, scaled(levels), rng)
        if self._fresh.keeps_real:
            boxes = np.concatenate([self._boxes[image][~self._crowds[image]], boxes])
        scene = Scene(to_levels(pixels, 8 if levels.dtype == np.uint8 else 16), boxes.astype(np.float64))
        self._scenes[image] = epoch, scene
        return scene
