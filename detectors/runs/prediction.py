"""New radiographs in; COCO results, overlays and heat maps out."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from data.console import progress
from data.files import write_json
from data.gray_notes import GrayNotes
from data.gray_window import GrayWindow
from data.montage import PREDICTION_COLOR, draw_boxes, draw_heat_map
from data.pictures import write_picture
from data.radiograph import Radiograph, find_radiographs, square_side
from detectors.backbones.packaged import find_packaged, read_packaged
from detectors.caps import ask_for_detections
from detectors.config.window import gray_window
from detectors.evaluation.runs import read_object
from detectors.evaluation.threshold import load_threshold
from detectors.interface import Detections
from detectors.maps.heat_map import HeatMap
from detectors.runs.checkpoint import load_model
from detectors.runs.inference import coco_results, detect_in_pixels, read_sized
from detectors.runs.output_folder import picture_names, staged_folder


class Predictor:
    """A trained detector with its preprocessing.

    Args:
        run: the folder of a run, or a checkpoint.
        device: where to run; the GPU if there is one by default.
        max_detections: raises the most detections of a radiograph, see `detectors.caps`.
        window: another gray window than the run's.
        bit_depth: bits of a stored gray level, where the files do not state them rightly.

    Raises InputError for a missing or foreign checkpoint.

    """

    def __init__(
        self,
        run: Path,
        device: torch.device | None = None,
        window: GrayWindow | None = None,
        bit_depth: int | None = None,
        max_detections: int | None = None,
    ) -> None:
        self.device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model, self.config, self.categories = load_model(run)
        self.model: nn.Module = model.to(self.device)
        ask_for_detections(self.model, max_detections)
        own = gray_window(self.config.data)
        chosen = own if window is None else replace(window, bit_depth=own.bit_depth, trained_on=own.trained_on)
        self.window: GrayWindow | None = chosen.with_bit_depth(bit_depth)

    def __call__(self, radiograph: Path | Radiograph | NDArray[np.float32]) -> Detections:
        """Return `boxes` [M, 4], `scores` [M] and `labels` [M] of one radiograph, in its own pixels.

        `radiograph` is a file; or what `read_radiograph` read through `window`; or gray values float32 [H, W] in
        [0, 1] by the full bit depth, which the window is applied to.
        """
        return self.with_map(radiograph)[0]

    def with_map(self, radiograph: Path | Radiograph | NDArray[np.float32]) -> tuple[Detections, HeatMap | None]:
        """Return the same detections and the heat map that they come from, None from a model without one."""
        if isinstance(radiograph, np.ndarray):
            pixels = self.window.of_pixels(radiograph) if self.window else radiograph
        elif isinstance(radiograph, Radiograph):
            pixels = radiograph.pixels
        else:
            pixels = read_sized(Path(radiograph), self.window).pixels
        return detect_in_pixels(self.model, pixels, self.device)


def default_threshold(run: Path) -> float:
    """Return the score above which a detection is shown.

    The threshold chosen for the run if there is one, else that of the best F1 in its evaluation, else 0.5; of weights
    that come with the toolkit, the one on their card. Raises InputError for a faulty file.
    """
    packaged = find_packaged(run)
    if packaged is not None:
        return float(read_packaged(packaged)["threshold"] or 0.5)
    run = run if run.is_dir() else run.parent
    chosen = load_threshold(run)
    if chosen is None and (run / "metrics.json").is_file():
        chosen = read_object(run / "metrics.json").get("threshold")
    return 0.5 if chosen is None else float(chosen)


def predict_files(
    predictor: Predictor,
    paths: Sequence[Path],
    out: Path,
    threshold: float,
    overlays: bool = True,
    heat_maps: bool = True,
) -> tuple[list[dict], list[dict]]:
    """Detect in files and folders; write `detections.json`, `images.json` and pictures into `out`.

    Every detection goes into the results, whatever its score; `overlays/` show those of at least `threshold`. Of
    models whose boxes come out of a heat map, `heat_maps/` hold the probability of every pixel as 16-bit PNG (65535
    is 1), and overlays show it, too. One radiograph at a time is held in memory.

    Args:
        predictor: the detector.
        paths: radiographs, or folders that are searched for them.
        out: output folder.
        threshold: lowest score drawn, in [0, 1].
        overlays: whether to draw.
        heat_maps: whether to keep and draw heat maps, where the model has them.

    Returns:
        The image records (id, file_name, width, height, pixel_size_mm where known) and the COCO results.

    Raises InputError for an empty folder and for a file that is not a radiograph; nothing is written then.

    """
    files = find_radiographs(paths)
    names = picture_names(files)
    images, results = [], []
    notes = GrayNotes(predictor.window.trained_on if predictor.window else None)
    # The last radiograph may be the broken one: everything lies beside `out` until all are done.
    with staged_folder(out, last="detections.json") as staged, progress() as bar:
        task = bar.add_task("detecting", total=len(files))
        for index, (file, name) in enumerate(zip(files, names, strict=True), start=1):
            radiograph = read_sized(file, predictor.window)
            notes.add(file, radiograph)
            detections, heat_map = predictor.with_map(radiograph) if heat_maps else (predictor(radiograph), None)
            height, width = radiograph.pixels.shape
            image = {"id": index, "file_name": str(file), "width": width, "height": height}
            side = square_side(radiograph.pixel_size_mm)
            images.append(image if side is None else image | {"pixel_size_mm": side})
            results += coco_results(index, detections, predictor.categories)
            values = None
            if heat_map is not None:
                values = heat_map.per_pixel(height, width).clamp(0, 1).cpu().numpy()
                write_picture(staged / "heat_maps" / name, np.rint(values.astype(np.float64) * 65535).astype(np.uint16))
            if overlays:
                _write_overlay(radiograph.display(), detections, values, threshold, staged / "overlays" / name)
            bar.advance(task)
        write_json(staged / "images.json", {"images": images, "categories": predictor.categories}, indent=1)
        write_json(staged / "detections.json", results)
    notes.warn()
    return images, results


def _write_overlay(
    pixels: np.ndarray, detections: Detections, values: np.ndarray | None, threshold: float, path: Path
) -> None:
    """Write the radiograph with its boxes and, if it has one, its heat map below (beside, where it is upright)."""
    keep = detections["scores"] >= threshold
    boxes, scores = detections["boxes"][keep].numpy(), detections["scores"][keep].numpy()
    picture = draw_boxes(pixels, boxes, scores, PREDICTION_COLOR)
    if values is not None:
        picture = np.concatenate([picture, draw_heat_map(pixels, values)], axis=int(pixels.shape[0] > pixels.shape[1]))
    write_picture(path, picture)
