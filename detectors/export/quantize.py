"""An exported model in 8-bit integers: as many of its layers as accuracy allows."""

import shutil
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import InputError
from data.gray_window import GrayWindow
from data.radiograph import find_radiographs, read_radiograph
from detectors.config.experiment import ExperimentConfig
from detectors.export.accuracy import Accuracy, Labeled, labeled_file, labeled_phantoms, simulate
from detectors.export.box_shift import box_shift
from detectors.runtime.boxes import Found
from detectors.runtime.folder import GRAPH, write_sums
from detectors.runtime.predictor import ExportedPredictor
from detectors.runtime.session import Session

MOST_LOSS = 0.005
"""Of average precision, that 8 bits may cost."""
SHARES = (0.0, 0.0625, 0.125, 0.25, 0.375, 0.5)
"""Of the inner layers' multiply-adds, those that stay in float, tried in turn."""
MOST_SHIFT = 0.007
"""How far boxes may move, see `detectors.export.box_shift`; else more layers stay in float."""
MOST_FOR_SHIFT = 0.375
"""Of the multiply-adds, that stay in float for that reason alone."""
MOST_CALIBRATION = 64
PHANTOMS = 48
SEED = 1008
TIMED = 5


@dataclass(frozen=True)
class Int8Wish:
    """What 8 bits are calibrated on, beside simulated radiographs, and what they are measured with."""

    calibration: Sequence[Path] = ()
    json_file: Path | None = None
    images: Path | None = None


@dataclass(frozen=True)
class Int8Outcome:
    """What came of it.

    Attributes:
        before: accuracy in float32.
        after: in 8 bits.
        measured_on: the radiographs of both.
        calibrated_on: those of the ranges.
        layers: with weights, input channels left out.
        kept: names of those that are still in float32.
        box_shift: how far boxes lie from those in float32, the median of 1 - IoU.
        time_ratio: of 8 bits to float32, one radiograph, on the machine that exported.

    """

    before: Accuracy
    after: Accuracy
    measured_on: str
    calibrated_on: str
    layers: int
    kept: Sequence[str]
    box_shift: float
    time_ratio: float

    def as_fields(self) -> dict[str, Any]:
        """Return plain values, for the card."""
        return asdict(self) | {"kept": list(self.kept)}

    def __str__(self) -> str:
        return (
            f"INT8, calibrated on {self.calibrated_on}: {self.layers - len(self.kept)} of {self.layers} layers in 8 "
            f"bits, {self.time_ratio:.2f} of the time of float32 here\n"
            f"before: {self.before}\nafter:  {self.after} ({self.measured_on}); "
            f"boxes of before and after: IoU {1 - self.box_shift:.3f} (median)"
        )


def quantize_exported(folder: Path, encodings: Sequence[str], config: ExperimentConfig, wish: Int8Wish) -> Int8Outcome:
    """Replace the graph of an exported folder by one in 8 bits. The hashes are written anew, the card is not.

    Args:
        folder: exported, in float32.
        encodings: names of the modules that turn gray values into channels.
        config: of the run.
        wish: what to calibrate on and to measure with.

    Raises InputError for data that cannot be read, and where more than `MOST_LOSS` of accuracy is lost even with half
    of the multiply-adds in float32.

    """
    from detectors.export.int8 import Quantizer  # which needs the package onnx
    from detectors.export.layer_ranking import first_layers, rank_layers

    exported = ExportedPredictor(folder)
    labeled = (
        labeled_phantoms(config)
        if wish.json_file is None
        else labeled_file(wish.json_file, wish.images, exported.window)
    )
    images, calibrated_on = calibration_radiographs(config, exported.window, wish.calibration)
    feeds = record_feeds(exported, images)
    before, own_boxes = _measure(exported, labeled)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        quantizer = Quantizer(folder / GRAPH, encodings, feeds, scratch)
        if not quantizer.inner:
            raise InputError(
                f"{config.name}: has no layers between the first and the last to quantize; leave out --int8"
            )
        groups: list[list[str]] = []
        best: Accuracy | None = None
        for share in SHARES:
            groups = groups or (rank_layers(quantizer, exported, images, scratch) if share else [])
            kept = [*quantizer.edges, *first_layers(groups, quantizer.products, share)]
            quantizer.write(scratch / GRAPH, kept)
            shutil.copyfile(scratch / GRAPH, folder / GRAPH)
            write_sums(folder)
            quantized = ExportedPredictor(folder)
            after, boxes = _measure(quantized, labeled)
            shift = box_shift(zip(own_boxes, boxes, strict=True))
            if before.loss(after) <= MOST_LOSS and (shift <= MOST_SHIFT or share >= MOST_FOR_SHIFT):
                ratio = time_ratio(quantized, exported, images[0])
                return Int8Outcome(
                    before, after, labeled.description, calibrated_on, len(quantizer.layers), kept, shift, ratio
                )
            best = after if best is None or before.loss(after) < before.loss(best) else best
    raise InputError(
        f"INT8 costs more than {MOST_LOSS} of average precision (before: {before}; after, at best: {best}; "
        f"{labeled.description}); calibrate on more radiographs of the kind (--calibration), or leave out --int8"
    )


def _measure(predictor: ExportedPredictor, labeled: Labeled) -> tuple[Accuracy, list[Found]]:
    """Return how accurate a model is, and its detections in every radiograph."""
    every: list[Found] = []

    def detect(pixels: np.ndarray) -> Found:
        every.append(predictor.in_pixels(pixels).detections)
        return every[-1]

    return labeled.accuracy(detect), every


def calibration_radiographs(
    config: ExperimentConfig, window: GrayWindow, paths: Sequence[Path]
) -> tuple[list[np.ndarray], str]:
    """Return gray values float32 [H, W] to calibrate on, and what they are: some of the named files, and phantoms.

    Phantoms take part in any case: named radiographs may be free of defects, whose values are the widest.
    """
    files = find_radiographs(paths) if paths else []
    chosen = [files[k * len(files) // MOST_CALIBRATION] for k in range(MOST_CALIBRATION)] if files else []
    chosen = files if len(files) <= MOST_CALIBRATION else chosen
    named = [read_radiograph(file, window=window).pixels for file in chosen]
    phantoms, description = simulate(config, SEED, PHANTOMS)
    known = f"{len(named)} radiographs and {description}" if named else description
    return named + [phantom.pixels for phantom, _ in phantoms], known


class _Recorder:
    """A session that keeps what it is fed."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.feeds: list[Mapping[str, np.ndarray]] = []

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Return the outputs of the graph."""
        self.feeds.append(feeds)
        return self.session.run(feeds)


def record_feeds(predictor: ExportedPredictor, images: Sequence[np.ndarray]) -> list[Mapping[str, np.ndarray]]:
    """Return what a predictor feeds its graph for some radiographs: whole ones, tiles or strips, and numbers."""
    recorder = _Recorder(predictor.session)
    with predictor.using(recorder):
        for image in images:
            predictor.in_pixels(image)
    return recorder.feeds


def time_ratio(one: ExportedPredictor, other: ExportedPredictor, pixels: np.ndarray) -> float:
    """Return how long one predictor takes for a radiograph, in times of the other: median of pairs."""
    ratios = []
    for _ in range(TIMED):
        clocks = [time.perf_counter()]
        for predictor in (one, other):
            predictor.in_pixels(pixels)
            clocks.append(time.perf_counter())
        ratios.append((clocks[1] - clocks[0]) / (clocks[2] - clocks[1]))
    return statistics.median(ratios)
