"""How accurate an exported model is on radiographs with known defects: simulated ones, or those of a COCO file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.coco import CocoDataset, read_coco
from data.console import progress
from data.errors import InputError
from data.gray_window import GrayWindow
from data.image_paths import existing_image
from data.records import Annotation, Category, ImageRecord
from data.synthesis.phantom import Phantom, make_phantom
from detectors.config.experiment import ExperimentConfig
from detectors.config.phantoms import PhantomConfig
from detectors.evaluation.metrics import compute_metrics
from detectors.runs.reading import coco_results, read_sized

PHANTOMS = 240  # on 80, rounding alone moves AP by more than what INT8 may cost
SEED = 1007  # of labeled phantoms, which no configuration trains on
DEFECT: list[Category] = [{"id": 1, "name": "defect"}]


@dataclass(frozen=True)
class Accuracy:
    """Average precision at IoU 0.5 and 0.3, classes set aside."""

    ap50: float
    ap30: float

    def loss(self, other: "Accuracy") -> float:
        """Return the larger of what the other one has less."""
        return max(self.ap50 - other.ap50, self.ap30 - other.ap30)

    def __str__(self) -> str:
        return f"AP {self.ap50:.3f} at IoU 0.5, {self.ap30:.3f} at IoU 0.3"


@dataclass(frozen=True)
class Labeled:
    """Radiographs with known defects: their records, what they are, and how to read one as float32 [H, W]."""

    dataset: CocoDataset
    description: str
    read: Callable[[ImageRecord], np.ndarray]

    def accuracy(self, detect: Callable[[np.ndarray], Mapping[str, Any]]) -> Accuracy:
        """Return how accurate a detector is, which takes gray values float32 [H, W] after the window."""
        results = []
        with progress(transient=True) as bar:
            for image in bar.track(self.dataset.images, description="measuring accuracy"):
                found = dict(detect(self.read(image)))
                found["labels"] = np.ones(len(found["scores"]), np.int64)
                results += coco_results(image["id"], found, DEFECT)
        metrics = compute_metrics(self.dataset, results)
        return Accuracy(float(metrics["ap50"] or 0), float(metrics["ap30"] or 0))


def phantom_sources(config: ExperimentConfig) -> list[tuple[PhantomConfig, float]]:
    """Return every sort of simulated radiograph that a run was tested or trained on, or a usual one, with its padding.

    What was tested on alone is too little: the ranges of values that it shows are narrower than those of radiographs to
    come.
    """
    train = config.data.train
    every = [config.data.test, config.data.val, *(train if isinstance(train, list) else [train])]
    sources: dict[tuple, tuple[PhantomConfig, float]] = {}
    for source in every:
        if source is not None and source.phantoms is not None:
            wanted = source.phantoms
            sources.setdefault((wanted.kind, wanted.style, wanted.family, wanted.size), (wanted, source.box_padding))
    usual = PhantomConfig(kind="welds" if config.model.task == "segmentation" else "castings")
    return list(sources.values()) or [(usual, 0.0)]


def simulate(config: ExperimentConfig, seed: int, count: int) -> tuple[list[tuple[Phantom, float]], str]:
    """Return so many simulated radiographs of a run's sorts with the padding of their boxes, and what they are."""
    sources = phantom_sources(config)
    phantoms, descriptions = [], []
    for place, (wanted, padding) in enumerate(sources):
        share = len(range(place, count, len(sources)))
        descriptions.append(f"{share} simulated {wanted.kind}")
        for index in range(share):
            made = make_phantom(wanted.kind, seed, index, style=wanted.style, family=wanted.family, size=wanted.size)
            phantoms.append((made, padding))
    return phantoms, " and ".join(descriptions)


def labeled_phantoms(config: ExperimentConfig, count: int = PHANTOMS) -> Labeled:
    """Return simulated radiographs of the sorts that a run was tested or trained on, with boxes padded as there."""
    phantoms, description = simulate(config, SEED, count)
    images: list[ImageRecord] = []
    annotations: list[Annotation] = []
    for number, (phantom, padding) in enumerate(phantoms, start=1):
        height, width = phantom.pixels.shape
        image: ImageRecord = {"id": number, "file_name": f"{number}", "width": width, "height": height}
        tight: list[Annotation] = [
            {"id": len(annotations) + place, "image_id": number, "category_id": 1, "iscrowd": 0,
             "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}
            for place, (x1, y1, x2, y2) in enumerate(phantom.boxes.tolist(), start=1)
        ]  # fmt: skip
        images.append(image)
        annotations += CocoDataset([image], tight, DEFECT).with_margin(padding).annotations
    dataset = CocoDataset(images, annotations, DEFECT)
    return Labeled(
        dataset, f"{description}, {len(annotations)} defects", lambda image: phantoms[image["id"] - 1][0].pixels
    )


def labeled_file(json_file: Path, images: Path | None, window: GrayWindow) -> Labeled:
    """Return the radiographs of a COCO file. Raises InputError for a faulty one, and for one without a defect."""
    dataset = read_coco(json_file)
    if not any(not annotation["iscrowd"] for annotation in dataset.annotations):
        raise InputError(f"{json_file}: has no defects, by which accuracy could be measured; give another --data")
    folder = images or json_file.parent
    annotations: list[Annotation] = [{**annotation, "category_id": 1} for annotation in dataset.annotations]
    own = CocoDataset(dataset.images, annotations, DEFECT)

    def read(image: ImageRecord) -> np.ndarray:
        return read_sized(existing_image(folder, image), window, (image["width"], image["height"])).pixels

    description = f"{json_file.name}: {len(dataset.images)} radiographs, {len(annotations)} defects"
    return Labeled(own, description, read)
