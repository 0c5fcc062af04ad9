"""A folder of radiographs in; COCO results, overlays and heat maps out: by a run, or by an exported model.

Nothing here imports PyTorch. One thread reads the next radiographs and one writes the last ones' pictures while the
model works; an exported model detects in as many radiographs at once as there are processors.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from data.console import progress
from data.drawing import PREDICTION_COLOR, draw_boxes, draw_heat_map
from data.errors import InputError
from data.files import write_json
from data.gray_notes import GrayNotes, print_notes
from data.image_quality.limits import QualityLimits, QualityNotes
from data.pictures import write_picture
from data.radiograph import Radiograph, find_radiographs, square_side
from data.records import Category
from detectors.runs.output_folder import picture_names, staged_folder
from detectors.runs.reading import coco_results, read_sized

AHEAD = 2  # radiographs read before the model asks for them, and pictures that wait to be written

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Findings:
    """What a model finds in one radiograph.

    Attributes:
        detections: `boxes` float32 [M, 4] in pixels, `scores` [M], `labels` [M].
        values: the defect probability of every pixel, float32 [H, W] in [0, 1]; None from models without a heat map.
        features: what the model saw, mean and deviation of each channel of its finest map, float64 [2 C]; None where it
            does not tell. See `detectors.decisions.familiarity`.

    """

    detections: dict[str, np.ndarray]
    values: np.ndarray | None = None
    features: np.ndarray | None = None


class FileDetector(Protocol):
    """What `predict_files` asks of a model: `detectors.runs.prediction.Predictor`, or that of an exported model."""

    window: Any
    categories: list[Category]

    def find(self, radiograph: Radiograph, with_map: bool = True) -> Findings:
        """Return the detections in one radiograph, in its own pixels, and the heat map if there is one."""
        ...


@runtime_checkable
class ParallelDetector(FileDetector, Protocol):
    """A detector that can work on several radiographs at once."""

    def prepare_for(self, count: int) -> int:
        """Get ready for so many radiographs, and return how many threads may call `find` at the same time."""
        ...


def predict_files(
    predictor: FileDetector,
    paths: Sequence[Path],
    out: Path,
    threshold: float,
    overlays: bool = True,
    heat_maps: bool = True,
    limits: QualityLimits | None = None,
    on_found: Callable[[Findings], object] = lambda found: None,
) -> tuple[list[dict], list[dict]]:
    """Detect in files and folders; write `detections.json`, `images.json` and pictures into `out`.

    Every detection goes into the results, whatever its score; `overlays/` show those of at least `threshold`. Of
    models whose boxes come out of a heat map, `heat_maps/` hold the probability of every pixel as 16-bit PNG (65535
    is 1), and overlays show it, too. A few radiographs at a time are held in memory.

    Args:
        predictor: the detector.
        paths: radiographs, or folders that are searched for them.
        out: output folder.
        threshold: lowest score drawn, in [0, 1].
        overlays: whether to draw.
        heat_maps: whether to keep and draw heat maps, where the model has them.
        limits: the image quality that the detector was judged on; a line warns of radiographs that are worse.
        on_found: is told of the findings in each radiograph, in their order.

    Returns:
        The image records (id, file_name, width, height, pixel_size_mm where known) and the COCO results.

    Raises InputError for an empty folder, for a file that is not a radiograph, and for one that there is no memory
    for; nothing is written then.

    """
    files = find_radiographs(paths)
    names = picture_names(files)
    images: list[dict] = []
    results: list[dict] = []
    notes = GrayNotes(predictor.window.trained_on if predictor.window else None)
    quality = QualityNotes(limits)
    # The last radiograph may be the broken one: everything lies beside `out` until all are done.
    with staged_folder(out, last="detections.json") as staged, progress() as bar, Writer() as writer:
        task = bar.add_task("detecting", total=len(files))
        detected = detect_in_files(predictor, files, heat_maps)
        for index, (file, name, (radiograph, found)) in enumerate(zip(files, names, detected, strict=True), start=1):
            notes.add(file, radiograph)
            quality.add(file, radiograph.pixels)
            on_found(found)
            images.append(_record(index, file, radiograph))
            results += coco_results(index, found.detections, predictor.categories)
            writer.submit(_write_pictures, radiograph, found, threshold, staged, name, overlays)
            bar.advance(task)
        writer.wait()
        described = {"images": images, "categories": predictor.categories, "threshold": threshold}
        write_json(staged / "images.json", described, indent=1)
        write_json(staged / "detections.json", results)
    notes.warn()
    print_notes(quality.lines())
    return images, results


def detect_in_files(
    predictor: FileDetector, files: Sequence[Path], with_map: bool = True
) -> Iterator[tuple[Radiograph, Findings]]:
    """Yield every radiograph and what is found in it, in order, while the next ones are read or detected in.

    Raises InputError for a file that is not a radiograph, and for one that there is no memory for.
    """

    def read(file: Path) -> tuple[Path, Radiograph]:
        return file, read_sized(file, predictor.window)

    def find(file: Path, radiograph: Radiograph) -> tuple[Radiograph, Findings]:
        try:
            return radiograph, predictor.find(radiograph, with_map)
        except MemoryError as error:
            height, width = radiograph.pixels.shape
            raise InputError(
                f"{file}: {width} x {height} pixels take more memory than there is ({error}); cut the radiograph "
                "into parts, or predict on a machine with more"
            ) from error

    lanes = predictor.prepare_for(len(files)) if isinstance(predictor, ParallelDetector) else 1
    if lanes == 1:
        for file, radiograph in ahead(read, files):
            yield find(file, radiograph)
    else:
        yield from ahead(lambda file: find(*read(file)), files, lanes)


def ahead(work: Callable[[Item], Result], items: Iterable[Item], threads: int = 1) -> Iterator[Result]:
    """Yield `work(item)` in order, made by so many threads, each up to `AHEAD` results before they are asked for."""
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > AHEAD * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


class Writer:
    """A thread that writes, and holds up whoever hands it more than it can write."""

    def __enter__(self) -> "Writer":
        """Start the thread."""
        self._pool = ThreadPoolExecutor(1)
        self._waiting: deque[Future[None]] = deque()
        return self

    def __exit__(self, *error: object) -> None:
        """End the thread; what has not begun is not written any more."""
        self._pool.shutdown(cancel_futures=True)

    def submit(self, work: Callable[..., None], *args: Any) -> None:
        """Have something written. Raises what an earlier call has failed with."""
        self._waiting.append(self._pool.submit(work, *args))
        while len(self._waiting) > AHEAD:
            self._waiting.popleft().result()

    def wait(self) -> None:
        """Return when all is written. Raises what a call has failed with."""
        while self._waiting:
            self._waiting.popleft().result()


def _record(index: int, file: Path, radiograph: Radiograph) -> dict:
    height, width = radiograph.pixels.shape
    image = {"id": index, "file_name": str(file), "width": width, "height": height}
    side = square_side(radiograph.pixel_size_mm)
    return image if side is None else image | {"pixel_size_mm": side}


def _write_pictures(
    radiograph: Radiograph, found: Findings, threshold: float, staged: Path, name: str, overlays: bool
) -> None:
    """Write the heat map, if there is one, and the radiograph with its boxes and the heat map below or beside it."""
    values = found.values
    if values is not None:
        stored = np.rint(values.astype(np.float64) * 65535).astype(np.uint16)
        write_picture(staged / "heat_maps" / name, stored)
    if not overlays:
        return
    pixels = radiograph.display()
    keep = found.detections["scores"] >= threshold
    picture = draw_boxes(pixels, found.detections["boxes"][keep], found.detections["scores"][keep], PREDICTION_COLOR)
    if values is not None:  # beside it, where the radiograph is upright
        picture = np.concatenate([picture, draw_heat_map(pixels, values)], axis=int(pixels.shape[0] > pixels.shape[1]))
    write_picture(staged / "overlays" / name, picture)
