"""From radiographs to detections: one image at a time, as an inspector gets them."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from data.coco import CocoDataset
from data.errors import InputError
from data.radiograph import PercentileWindow, read_radiograph
from detectors.interface import Detections
from detectors.maps.heat_map import HeatMap, HeatMapModel


def detect(
    model: nn.Module,
    path: Path,
    window: PercentileWindow | None,
    device: torch.device,
    size: tuple[int, int] | None = None,
) -> Detections:
    """Return the detections of one radiograph file, on the CPU, in the pixels of the file.

    The percentile window, if the run has one, is applied before the model as it was in training. `size` is the
    (width, height) that a record promises; raises InputError if the file has another.
    """
    return detect_with_map(model, path, window, device, size)[0]


@torch.inference_mode()
def detect_with_map(
    model: nn.Module,
    path: Path,
    window: PercentileWindow | None,
    device: torch.device,
    size: tuple[int, int] | None = None,
) -> tuple[Detections, HeatMap | None]:
    """Return the detections as `detect` does, and the heat map that they come from, None from other models."""
    pixels = read_radiograph(path).pixels
    if size is not None and (pixels.shape[1], pixels.shape[0]) != size:
        raise InputError(
            f"{path}: it is {pixels.shape[1]} x {pixels.shape[0]} pixels, but {size[0]} x {size[1]} by its record; "
            "its boxes would lie elsewhere: correct the record or the file (tools/check_data.py)"
        )
    if window is not None:
        pixels = window(pixels)
    image = torch.from_numpy(pixels)[None].to(device)
    heat_map = model.heat_map(image) if isinstance(model, HeatMapModel) else None
    output = model([image])[0] if heat_map is None else model.detections(image, heat_map)
    return {name: value.cpu() for name, value in output.items()}, heat_map


def coco_results(image_id: int, detections: Detections, categories: Sequence[dict]) -> list[dict]:
    """Return COCO results of one image: image_id, category_id, bbox (x, y, width, height in pixels), score."""
    boxes = detections["boxes"].tolist()
    return [
        {
            "image_id": image_id,
            "category_id": categories[label - 1]["id"],
            "bbox": [round(v, 3) for v in (x1, y1, x2 - x1, y2 - y1)],
            "score": score,
        }
        for (x1, y1, x2, y2), score, label in zip(
            boxes, detections["scores"].tolist(), detections["labels"].tolist(), strict=True
        )
    ]


def detect_dataset(
    model: nn.Module,
    dataset: CocoDataset,
    image_dir: Path,
    categories: Sequence[dict],
    window: PercentileWindow | None,
    device: torch.device,
    advance: Callable[[], None] = lambda: None,
    look: Callable[[dict, HeatMap], None] | None = None,
) -> tuple[list[dict], float | None]:
    """Run a model over every image of a COCO data set, clean ones included.

    Args:
        model: put into evaluation mode for the run, and back into the mode it was in.
        dataset: its images name the files.
        image_dir: the folder that the file names start from.
        categories: COCO categories of the model's labels 1..K.
        window: the run's gray-value window, if any.
        device: where the model lies.
        advance: called after each image.
        look: called with each image's record and heat map, where the model makes one; its time is not counted.

    Returns:
        COCO results, and the seconds an image took (reading, pre- and post-processing included), or None
        when there are no images.

    """
    mode = model.training
    model.eval()
    results = []
    spent = 0.0
    for image in dataset.images:
        path, size = Path(image_dir) / image["file_name"], (image["width"], image["height"])
        start = time.perf_counter()
        detections, heat_map = detect_with_map(model, path, window, device, size)
        results += coco_results(image["id"], detections, categories)
        spent += time.perf_counter() - start
        if look is not None and heat_map is not None:
            look(image, heat_map)
        advance()
    model.train(mode)
    return results, spent / len(dataset.images) if dataset.images else None
