"""Speed of exported models beside the runs that they come from: latency, throughput, and share of the machine's peak.

All models are measured in one process and take turns radiograph by radiograph, so that what disturbs one disturbs
all.
"""

import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data.console import progress
from data.errors import InputError
from data.files import write_json, write_text
from data.radiograph import read_radiograph, write_radiograph
from data.synthesis.phantom import make_phantom
from detectors.evaluation.metrics import display
from detectors.evaluation.table import markdown_table
from detectors.export.write import run_eager
from detectors.runs.predict_files import FileDetector, detect_in_files
from detectors.runs.prediction import Predictor
from detectors.runtime.folder import is_exported, read_exported
from detectors.runtime.predictor import ExportedPredictor
from detectors.runtime.session import ENGINES

THREADS = (1, 2)
FOLDER = 24  # radiographs, for the throughput, of which slow models take fewer
FEWEST = 4
LONGEST = 8.0  # seconds for a folder
MATRIX = 2048  # a side
NAMES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}


@dataclass(frozen=True)
class Subject:
    """What is measured: a detector, what it is called, what runs it in which precision, and its work.

    `multiply_adds` are those of the radiograph that is measured on, `origin` the name of the run's folder.
    """

    name: str
    runtime: str
    precision: str
    detector: FileDetector
    multiply_adds: float
    origin: str = ""


def measure_runtimes(
    runs: Sequence[Path], size: tuple[int, int], repeats: int, threads: Sequence[int] = THREADS
) -> list[dict[str, Any]]:
    """Measure runs and exported models, the latter in every runtime that is installed; see `measure_subjects`.

    Raises InputError for a folder that is neither, and for an exported model that cannot be run.
    """

    def open_all(pixels: np.ndarray, count: int) -> list[Subject]:
        return told_apart([subject for run in runs for subject in open_subjects(run, pixels, count)])

    return measure_subjects(open_all, size, repeats, threads)


def measure_subjects(
    open_all: Callable[[np.ndarray, int], Sequence[Subject]],
    size: tuple[int, int],
    repeats: int,
    threads: Sequence[int] = THREADS,
) -> list[dict[str, Any]]:
    """Measure detectors that take turns.

    Args:
        open_all: from the pixels of a radiograph and a number of threads to what is measured.
        size: width and height of the radiograph, in pixels.
        repeats: timed radiographs.
        threads: of the processor, one after the other.

    Returns:
        A record a model, runtime and number of threads: `seconds` from file to boxes and `model_seconds` from pixels
        to boxes (`median`, `low`, `high`: quartiles), `throughput` in radiographs a second over a folder, by
        what predict does with one; `multiply_adds`, and `peak`, those a second of a product of float32 matrices with
        as many threads.

    """
    width, height = size
    pixels = make_phantom("castings", 0, 0, size=size).pixels
    records = []
    before = torch.get_num_threads()
    try:
        with tempfile.TemporaryDirectory() as name:
            files = [Path(name) / f"{index}.png" for index in range(FOLDER)]
            for file in files:
                write_radiograph(file, pixels)
            for count in threads:
                torch.set_num_threads(count)
                subjects = open_all(pixels, count)
                # A card knows the work for another radiograph, whose noise may ask for another scale.
                works = {subject.name: subject.multiply_adds for subject in subjects if subject.runtime == "PyTorch"}
                peak = matrix_peak()
                for subject, figures in zip(subjects, _measure(subjects, files, repeats), strict=True):
                    records.append(
                        {
                            "name": subject.name, "runtime": subject.runtime, "precision": subject.precision,
                            "threads": count, "image_size": [width, height], "repeats": repeats, **figures,
                            "multiply_adds": works.get(subject.name, subject.multiply_adds), "peak": peak,
                        }
                    )  # fmt: skip
    finally:
        torch.set_num_threads(before)
    return records


def open_subjects(run: Path, pixels: np.ndarray, threads: int) -> list[Subject]:
    """Return what is measured of a folder: a run in PyTorch, or an exported model in every runtime that there is."""
    if not is_exported(run):
        eager = Predictor(run, torch.device("cpu"))
        _, work = run_eager(eager.model, [pixels])
        return [Subject(eager.config.name, "PyTorch", "float32", eager, work, run.name)]
    there = [engine for engine in ENGINES if importlib.util.find_spec(engine) is not None]
    if not there:
        raise InputError(f"{run}: neither {' nor '.join(ENGINES)} is installed; python -m pip install {ENGINES[0]}")
    if read_exported(run).card.get("winograd_layers"):  # OpenVINO is faster with the graph that is exported for it
        there = there[:1]
    subjects = []
    for engine in there:
        exported = ExportedPredictor(run, engine=engine, threads=threads)
        card = exported.folder.card
        counted = card["multiply_adds"]
        work = counted["count"] * pixels.size / float(np.prod(counted["pixels"]))
        own = card["run"]
        subjects.append(Subject(own["name"], NAMES[engine], exported.folder.precision, exported, work, own["from"]))
    return subjects


def told_apart(subjects: Sequence[Subject]) -> list[Subject]:
    """Return them with the folder behind the name where runs of several folders share one.

    An exported model is compared with the run of its name.
    """
    origins: dict[str, set[str]] = {}
    for subject in subjects:
        origins.setdefault(subject.name, set()).add(subject.origin)
    return [replace(one, name=f"{one.name} ({one.origin})") if len(origins[one.name]) > 1 else one for one in subjects]


def matrix_peak(repeats: int = 4) -> float:
    """Return multiply-adds a second of a product of float32 matrices with PyTorch's threads, the best of some."""
    one, other = torch.rand(MATRIX, MATRIX), torch.rand(MATRIX, MATRIX)
    return MATRIX**3 / min(_clock(lambda: one @ other) for _ in range(repeats + 1))


def _measure(subjects: Sequence[Subject], files: Sequence[Path], repeats: int) -> list[dict[str, Any]]:
    """Return the times of subjects that take turns, and the throughput of each."""
    whole: list[list[float]] = [[] for _ in subjects]
    alone: list[list[float]] = [[] for _ in subjects]
    read = [read_radiograph(files[0], window=subject.detector.window) for subject in subjects]
    with progress(transient=True) as bar:
        for number in bar.track(range(repeats + 1), description="timing"):
            for place, subject in enumerate(subjects):
                times = (
                    _clock(partial(_detect, subject, files[0])),
                    _clock(partial(subject.detector.find, read[place])),
                )
                if number:  # the first one warms up
                    whole[place].append(times[0])
                    alone[place].append(times[1])
    records = []
    for place, subject in enumerate(subjects):
        seconds = _quartiles(whole[place])
        some = files[: max(FEWEST, min(len(files), int(LONGEST / seconds["median"])))]
        _detect_all(subject, some[:FEWEST])  # warms up those that work side by side
        throughput = len(some) / _clock(partial(_detect_all, subject, some))
        records.append({"seconds": seconds, "model_seconds": _quartiles(alone[place]), "throughput": throughput})
    return records


def _detect(subject: Subject, file: Path) -> None:
    subject.detector.find(read_radiograph(file, window=subject.detector.window))


def _detect_all(subject: Subject, files: Sequence[Path]) -> None:
    for _ in detect_in_files(subject.detector, files, with_map=False):
        pass


def _clock(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _quartiles(seconds: Sequence[float]) -> dict[str, float]:
    low, median, high = statistics.quantiles([*seconds, *seconds] if len(seconds) == 1 else seconds, n=4)
    return {"median": median, "low": low, "high": high}


def write_runtimes(records: Sequence[dict[str, Any]], out: Path) -> str:
    """Write `runtimes.json` and `runtimes.md` into `out`, and return the Markdown."""
    text = runtimes_table(records)
    write_json(out / "runtimes.json", {"records": list(records)}, indent=2)
    write_text(out / "runtimes.md", text)
    return text


def runtimes_table(records: Sequence[dict[str, Any]]) -> str:
    """Return records of `measure_runtimes` as Markdown; ratios are to PyTorch with as many threads."""
    header = [
        "model", "runtime", "precision", "threads", "file to boxes, s", "ratio to PyTorch", "pixels to boxes, s",
        "radiographs/s", "billion multiply-adds", "billion a second", "share of the peak",
    ]  # fmt: skip
    eager = {(r["name"], r["threads"]): r["seconds"]["median"] for r in records if r["runtime"] == "PyTorch"}
    rows = []
    for record in records:
        seconds, alone = record["seconds"], record["model_seconds"]["median"]
        slow = eager.get((record["name"], record["threads"]))
        rate = record["multiply_adds"] / alone
        rows.append(
            [
                record["name"], record["runtime"], record["precision"], str(record["threads"]),
                f"{seconds['median']:.4f} ({seconds['low']:.4f} to {seconds['high']:.4f})",
                display(seconds["median"] / slow if slow else None, 2), display(alone, 4),
                display(record["throughput"], 1), display(record["multiply_adds"] / 1e9, 2), display(rate / 1e9, 1),
                display(rate / record["peak"], 2),
            ]
        )  # fmt: skip
    width, height = records[0]["image_size"]
    peaks = {record["threads"]: record["peak"] for record in records}
    shown = "; ".join(f"{count} thread{'s' * (count > 1)} {peak / 1e9:.0f}" for count, peak in peaks.items())
    return (
        markdown_table(header, rows)
        + f"\nOne radiograph of {width} x {height} pixels at a time, all models in turns; median and quartiles of "
        f"{records[0]['repeats']}. Throughput over a folder of up to {FOLDER}, as predict does it. Multiply-adds a "
        f"second from pixels to boxes; the peak is a product of float32 matrices of {MATRIX} a side (billion a "
        f"second: {shown}).\n"
    )
