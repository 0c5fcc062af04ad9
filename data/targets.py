"""What is to be found in a radiograph: its annotated objects, and simulated ones put in on the fly."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.boxes import MIN_BOX_SIDE, clip_box, has_area
from data.coco import CocoDataset
from data.errors import InputError
from data.radiograph_store import RadiographStore, restore
from data.records import Annotation, ImageRecord
from data.synthesis.on_the_fly import OnTheFlyDefects
from data.synthesis.simulated_defects import SimulatedMask
from data.synthesis.simulation_config import SimulationConfig


class Targets(NamedTuple):
    """Boxes float32 [N, 4] x1 y1 x2 y2 in pixels, labels int64 [N] (1..K) and crowd flags int64 [N] (0 or 1)."""

    boxes: np.ndarray
    labels: np.ndarray
    iscrowd: np.ndarray


def read_targets(dataset: CocoDataset, store: RadiographStore) -> list[Targets]:
    """Return the annotated objects of every image of the store, their boxes clipped to it.

    Raises InputError for a box that has no area, or next to none (see `data.boxes`), inside its image.
    """
    return [
        _targets(dataset, image, path, dataset.annotations_of(image["id"]))
        for image, path in zip(store.images, store.paths, strict=True)
    ]


def _targets(dataset: CocoDataset, image: ImageRecord, path: Path, annotations: list[Annotation]) -> Targets:
    boxes = [_box(annotation, image, path) for annotation in annotations]
    return Targets(
        np.array(boxes, dtype=np.float32).reshape(-1, 4),
        np.array([dataset.label_of[a["category_id"]] for a in annotations], dtype=np.int64),
        np.array([a.get("iscrowd", 0) for a in annotations], dtype=np.int64),
    )


def _box(annotation: Annotation, image: ImageRecord, path: Path) -> np.ndarray:
    """Return the annotation's box as x1 y1 x2 y2 float32 `[4]`, clipped to the image."""
    box = clip_box(annotation["bbox"], image["width"], image["height"])
    if not has_area(box):
        raise InputError(
            f"{path}: image {image['id']}, annotation {annotation['id']}: box {annotation['bbox']} (x, y, width,"
            f" height in pixels) has no area or is thinner than {MIN_BOX_SIDE} pixels inside the"
            f" {image['width']} x {image['height']} image; correct or remove it"
        )
    return box


class SimulatedTargets:
    """Simulated defects put into the radiographs of a store on the fly, beside or instead of the annotated ones.

    Args:
        dataset: COCO data, whose categories name the defects.
        store: its radiographs.
        annotated: their annotated objects.
        config: which defects, how many and how strong.
        box_padding: pixels added to each side of a simulated box.

    A radiograph is analyzed when it is first drawn; `analyze_all` does it for all, once and not in every worker.
    Raises InputError for a category that the data do not have.

    """

    def __init__(
        self,
        dataset: CocoDataset,
        store: RadiographStore,
        annotated: list[Targets],
        config: SimulationConfig,
        box_padding: float,
    ) -> None:
        self.label = _label_named(dataset, config.category)
        self._store = store
        self._annotated = annotated
        self._defects = OnTheFlyDefects(config, box_padding)

    @property
    def keeps_real(self) -> bool:
        """Whether annotated defects stay in the radiographs, and are targets."""
        return self._defects.keeps_real

    def analyze_all(self) -> None:
        """Find out now what every radiograph offers."""
        for position in range(len(self._store)):
            levels, full = self._store.levels(position)
            self._analyze(position, restore(levels, full), full)

    def __call__(
        self, position: int, pixels: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, Targets, list[SimulatedMask]]:
        """Return a radiograph with simulated defects, its targets, real ones first, and the simulated ones' masks.

        `pixels` is float32 [H, W] in [0, 1], left as it is; every random choice comes from `rng`.
        """
        if position not in self._defects:
            self._analyze(position, pixels, self._store.levels(position)[1])
        pixels, boxes, masks = self._defects(position, pixels, rng)
        added = Targets(boxes, np.full(len(boxes), self.label, np.int64), np.zeros(len(boxes), np.int64))
        if not self.keeps_real:
            return pixels, added, masks
        real = self._annotated[position]
        return pixels, Targets(*(np.concatenate(pair) for pair in zip(real, added, strict=True))), masks

    def _analyze(self, position: int, pixels: np.ndarray, full: int) -> None:
        self._defects.analyze(position, pixels, self._annotated[position].boxes, full)


def _label_named(dataset: CocoDataset, category: str | None) -> int:
    """Return the label of a category, of the first one without a name."""
    names = dataset.class_names
    if category is None:
        return 1
    if category not in names:
        raise InputError(f"{dataset.path}: no category {category!r} for simulated defects; it has {', '.join(names)}")
    return names.index(category) + 1
