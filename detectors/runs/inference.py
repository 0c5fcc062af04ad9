"""From radiographs to detections: one image at a time, as an inspector gets them."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from data.coco import CocoDataset
from data.gray_window import GrayWindow
from data.image_paths import existing_image
from data.records import Category, ImageRecord
from detectors.interface import Detections
from detectors.maps.heat_map import HeatMap, HeatMapModel
from detectors.runs.reading import coco_results, read_sized


def detect(
    model: nn.Module,
    path: Path,
    window: GrayWindow | None,
    device: torch.device,
    size: tuple[int, int] | None = None,
) -> Detections:
    """Return the detections of one radiograph file, on the CPU, in the pixels of the file.

    The run's gray window is applied as it was in training. `size` is the
    (width, height) that a record promises; raises InputError if the file has another.
    """
    return detect_with_map(model, path, window, device, size)[0]


def detect_with_map(
    model: nn.Module,
    path: Path,
    window: GrayWindow | None,
    device: torch.device,
    size: tuple[int, int] | None = None,
) -> tuple[Detections, HeatMap | None]:
    """Return the detections as `detect` does, and the heat map that they come from, None from other models."""
    return detect_in_pixels(model, read_sized(path, window, size).pixels, device)


@torch.inference_mode()
def detect_in_pixels(
    model: nn.Module, pixels: NDArray[np.float32], device: torch.device
) -> tuple[Detections, HeatMap | None]:
    """Return the detections in gray values float32 [H, W] after the window, and the heat map that they come from."""
    image = torch.from_numpy(pixels)[None].to(device)
    heat_map: HeatMap | None = None
    if isinstance(model, HeatMapModel):
        heat_map = model.heat_map(image)
        output = model.detections(image, heat_map)
    else:
        output = model([image])[0]
    return {name: value.cpu() for name, value in output.items()}, heat_map


def detect_dataset(
    model: nn.Module,
    dataset: CocoDataset,
    image_dir: Path,
    categories: Sequence[Category],
    window: GrayWindow | None,
    device: torch.device,
    on_image: Callable[[], None] = lambda: None,
    on_heat_map: Callable[[ImageRecord, HeatMap, NDArray[np.float32]], None] | None = None,
) -> tuple[list[dict[str, Any]], float | None]:
    """Run a model over every image of a COCO data set, defect-free ones included.

    Args:
        model: put into evaluation mode for the run, and back into the mode it was in.
        dataset: its images name the files.
        image_dir: the folder that the file names start from.
        categories: COCO categories of the model's labels 1..K.
        window: the run's gray-value window, if any.
        device: where the model lies.
        on_image: called after each image.
        on_heat_map: called with each image's record, heat map and pixels (as they are displayed), where the model makes
            a map; its time is not counted.

    Returns:
        COCO results, and the seconds an image took (reading, pre- and post-processing included), or None
        when there are no images.

    """
    mode = model.training
    model.eval()
    results: list[dict[str, Any]] = []
    spent = 0.0
    for image in dataset.images:
        path, size = existing_image(image_dir, image), (image["width"], image["height"])
        start = time.perf_counter()
        radiograph = read_sized(path, window, size)
        detections, heat_map = detect_in_pixels(model, radiograph.pixels, device)
        results += coco_results(image["id"], detections, categories)
        spent += time.perf_counter() - start
        if on_heat_map is not None and heat_map is not None:
            on_heat_map(image, heat_map, radiograph.display())
        on_image()
    model.train(mode)
    return results, spent / len(dataset.images) if dataset.images else None
