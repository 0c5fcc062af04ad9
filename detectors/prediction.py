"""New radiographs in, COCO results and overlays out."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import torch
from torch import nn

from data.console import progress
from data.errors import InputError
from data.files import atomic_path, write_json
from data.montage import PREDICTION_COLOR, draw_boxes
from data.radiograph import PercentileWindow, find_radiographs, radiograph_size, read_radiograph
from detectors.checkpoint import load_model
from detectors.contract import Detections
from detectors.evaluation.runs import read_object
from detectors.evaluation.threshold import load_threshold
from detectors.inference import coco_results, detect
from detectors.sources import percentile_window


class Predictor:
    """A trained detector with its preprocessing.

    Args:
        run: the folder of a run, or a checkpoint.
        device: where to run; the GPU if there is one by default.

    Raises InputError for a missing or foreign checkpoint.

    """

    def __init__(self, run: Path, device: torch.device | None = None) -> None:
        self.device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model, self.config, self.categories = load_model(run)
        self.model: nn.Module = model.to(self.device)
        self.window: PercentileWindow | None = percentile_window(self.config.data)

    def __call__(self, path: Path) -> Detections:
        """Return `boxes` [M, 4], `scores` [M] and `labels` [M] of one radiograph, in its own pixels."""
        return detect(self.model, path, self.window, self.device)


def default_threshold(run: Path) -> float:
    """Return the score above which a detection is shown.

    The threshold chosen for the run if there is one, else that of the best F1 in its evaluation, else 0.5.
    Raises InputError for a faulty file.
    """
    run = run if run.is_dir() else run.parent
    chosen = load_threshold(run)
    if chosen is None and (run / "metrics.json").is_file():
        chosen = read_object(run / "metrics.json").get("threshold")
    return 0.5 if chosen is None else float(chosen)


def predict_files(
    predictor: Predictor, paths: Sequence[Path], out: Path, threshold: float, overlays: bool = True
) -> tuple[list[dict], list[dict]]:
    """Detect in files and folders; write `detections.json`, `images.json` and `overlays/` into `out`.

    Every detection goes into the results, whatever its score; overlays show those of at least `threshold`.

    Args:
        predictor: the detector.
        paths: radiographs, or folders that are searched for them.
        out: output folder.
        threshold: lowest score drawn, in [0, 1].
        overlays: whether to draw.

    Returns:
        The image records (id, file_name, width, height) and the COCO results.

    Raises InputError for an empty folder and for a file that is not a radiograph, before anything is written.

    """
    files = find_radiographs(paths)
    names = _overlay_names(files) if overlays else [file.name for file in files]
    images, results, found = [], [], []
    with progress() as bar:
        task = bar.add_task("detecting", total=len(files))
        for index, file in enumerate(files, start=1):
            width, height = radiograph_size(file)
            found.append(predictor(file))
            images.append({"id": index, "file_name": str(file), "width": width, "height": height})
            results += coco_results(index, found[-1], predictor.categories)
            bar.advance(task)
    # Drawing reads every file again, but a broken one has stopped us by now with nothing written.
    for file, name, detections in zip(files, names, found, strict=True):
        if overlays:
            _write_overlay(file, detections, threshold, out / "overlays" / name)
    write_json(out / "images.json", {"images": images, "categories": predictor.categories}, indent=1)
    write_json(out / "detections.json", results)
    return images, results


def _overlay_names(files: Sequence[Path]) -> list[str]:
    """Return one picture name a file; equal stems get their folder's name in front."""
    stems = [file.stem for file in files]
    names = [
        f"{file.stem}.png" if stems.count(file.stem) == 1 else f"{file.parent.name}_{file.name}.png" for file in files
    ]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"two radiographs would both be drawn as overlays/{twice}; predict their folders one by one")
    return names


def _write_overlay(file: Path, detections: Detections, threshold: float, path: Path) -> None:
    keep = detections["scores"] >= threshold
    pixels = read_radiograph(file).pixels
    boxes, scores = detections["boxes"][keep].numpy(), detections["scores"][keep].numpy()
    picture = draw_boxes(pixels, boxes, scores, PREDICTION_COLOR)
    with atomic_path(path) as temporary:
        cv2.imwrite(str(temporary), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
