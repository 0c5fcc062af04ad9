#!/usr/bin/env python3
"""Measure prediction on an archive: radiographs per second and memory over time, by Ray and without it.

    python benchmarks/archive_prediction.py write shards --count 100000
    python benchmarks/archive_prediction.py measure shards --run EXPORTED --engine ray --out ray
    python benchmarks/archive_prediction.py measure shards --run EXPORTED --engine processes --out processes
    python benchmarks/archive_prediction.py measure shards --run EXPORTED --engine plain --out plain
    python benchmarks/archive_prediction.py plot ray.json processes.json plain.json --out memory.png
    python benchmarks/archive_prediction.py compare shards --run EXPORTED --out both

`plain` is the baseline: so many processes that share nothing, each with its part of the shards, a model and a loop.
`compare` runs Ray and it at the same time, in turns of some seconds in which all processes of the other one are
stopped: a machine whose speed changes is as fast for one as for the other.
"""

import contextlib
import json
import multiprocessing
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import imagecodecs
import numpy as np
import psutil
import pyarrow as pa

from data.archives.parts import box_rows, part_path, part_paths, read_part, write_part
from data.archives.schema import DETECTIONS, RADIOGRAPHS
from data.console import console, progress
from data.files import write_json
from data.held_file import HeldFile
from data.radiograph import read_radiograph
from detectors.runtime.predictor import ExportedPredictor
from radiograph.command import PATH, Command

TOOL = Path(__file__).resolve().parents[1] / "tools" / "predict.py"
ATTENUATION = 0.8  # per cm
INTERVAL = 1.0  # seconds between two looks at the memory


def slab_with_bubble(seed: int, size: int) -> np.ndarray:
    """Return the radiograph uint8 [size, size] of a slab of 1 to 3 cm with a spherical bubble, by Beer's law."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size].astype(np.float32) / size
    thickness = rng.uniform(1, 2) + rng.uniform(-0.5, 0.5) * x + rng.uniform(-0.5, 0.5) * y
    radius, center = rng.uniform(0.03, 0.12), rng.uniform(0.2, 0.8, 2)
    chord = 2 * np.sqrt(np.maximum(radius**2 - (y - center[0]) ** 2 - (x - center[1]) ** 2, 0))
    light = np.exp(-ATTENUATION * (thickness - 4 * chord)) + rng.normal(0, 0.004, (size, size))
    return (255 * light.clip(0, 1)).astype(np.uint8)


@click.group()
def main() -> None:
    """Write an archive of small radiographs, measure prediction on it, and plot its memory."""


@main.command(cls=Command)
@click.argument("folder", type=PATH)
@click.option("--count", type=click.IntRange(1), default=100_000)
@click.option("--size", type=click.IntRange(16), default=64, help="Pixels of a side.")
@click.option("--shard", type=click.IntRange(1), default=500, help="Radiographs of a shard.")
def write(folder: Path, count: int, size: int, shard: int) -> None:
    """Write slabs with one bubble each as shards of PNG files."""
    with progress() as bar:
        for number in bar.track(range(-(-count // shard)), description="writing"):
            indices = range(number * shard, min((number + 1) * shard, count))
            images = [bytes(imagecodecs.png_encode(slab_with_bubble(k, size))) for k in indices]
            rows = pa.table([[f"{k:07d}.png" for k in indices], images], schema=RADIOGRAPHS)
            write_part(part_path(folder, number), rows)


@main.command(cls=Command)
@click.argument("shards", type=PATH)
@click.option("--run", required=True, type=PATH, help="Folder of an exported model.")
@click.option("--engine", type=click.Choice(["ray", "processes", "plain"]), required=True)
@click.option("--workers", type=click.IntRange(1), default=2)
@click.option("--out", type=PATH, required=True, help="Folder of the results; OUT.json holds the measurement.")
def measure(shards: Path, run: Path, engine: str, workers: int, out: Path) -> None:
    """Predict on all shards once; write its rate, and the memory and processor time of all processes over time."""
    began = time.perf_counter()
    started = _start(engine, shards, run, workers, out)
    memory, processor, finished = [], [], []
    me = psutil.Process()
    while any(_runs(process) for process in started):
        now, (size, spent) = time.perf_counter() - began, _use(me)
        memory.append([now, size])
        processor.append([now, spent])
        finished.append([time.perf_counter() - began, len([*(out / "detections").glob("part-*")])])
        time.sleep(INTERVAL)
    seconds = time.perf_counter() - began
    rows = _rows(out)
    first = next((when for when, parts in finished if parts), 0.0)
    record = {
        "engine": engine, "workers": workers, "radiographs": rows, "seconds": seconds, "per_second": rows / seconds,
        "seconds_to_first_part": first, "memory": memory, "processor": processor, "parts": finished,
    }  # fmt: skip
    write_json(out.with_suffix(".json"), record)
    most = max((size for _, size in memory), default=0)
    console.print(
        f"{engine}: {rows} in {seconds:.1f} s, {rows / seconds:.1f} per second, {most / 2**20:.0f} MB at most"
    )


@main.command(cls=Command)
@click.argument("shards", type=PATH)
@click.option("--run", required=True, type=PATH, help="Folder of an exported model.")
@click.option("--workers", type=click.IntRange(1), default=2)
@click.option("--turn", type=click.FloatRange(1), default=6.0, help="Seconds; Ray's processes must not seem dead.")
@click.option("--engine", "engines", type=click.Choice(["ray", "processes", "plain"]), multiple=True,
              default=("ray", "plain"), help="Repeatable.")  # fmt: skip
@click.option("--out", type=PATH, required=True, help="Folder of the results; OUT.json holds the measurement.")
def compare(shards: Path, run: Path, workers: int, turn: float, engines: tuple[str, ...], out: Path) -> None:
    """Predict on all shards by each engine, in turns; write the seconds that each was at work, its start included."""
    record: dict[str, dict[str, float]] = {}
    started: dict[str, list[Any]] = {}
    spent = dict.fromkeys(engines, 0.0)
    while len(record) < len(engines):
        for engine in engines:
            if engine in record:
                continue
            began = time.perf_counter()
            if engine in started:
                _signal(started[engine], signal.SIGCONT)
            else:
                started[engine] = _start(engine, shards, run, workers, out / engine)
            alone = len(record) == len(engines) - 1
            while running := any(map(_runs, started[engine])):
                # The first turn lasts until there is a part: Ray does not start with interruptions.
                if not alone and time.perf_counter() - began > turn and _has_parts(out / engine):
                    break
                time.sleep(0.02)
            _signal(started[engine], signal.SIGSTOP)
            spent[engine] += time.perf_counter() - began
            if not running:
                rows = _rows(out / engine)
                record[engine] = {"radiographs": rows, "seconds": spent[engine], "per_second": rows / spent[engine]}
    write_json(out.with_suffix(".json"), {"workers": workers, "turn": turn, "engines": record})
    for engine, row in record.items():
        ratio = row["per_second"] / record[engines[-1]]["per_second"]
        console.print(
            f"{engine}: {row['radiographs']} in {row['seconds']:.1f} s, {row['per_second']:.1f} per second, "
            f"{ratio:.3f} of {engines[-1]}"
        )


@main.command(cls=Command)
@click.argument("records", nargs=-1, required=True, type=PATH)
@click.option("--out", type=PATH, default=Path("memory.png"))
def plot(records: tuple[Path, ...], out: Path) -> None:
    """Plot the memory of measurements over time."""
    import matplotlib.pyplot as plt

    names = {"ray": "Ray, {} actors", "processes": "--workers {}", "plain": "{} plain processes"}
    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    for path in records:
        record = json.loads(path.read_text())
        times, sizes = np.array(record["memory"]).T
        axes.plot(times, sizes / 2**20, label=names[record["engine"]].format(record["workers"]))
    axes.set(xlabel="seconds", ylabel="resident memory of all processes, MB", ylim=(0, None))
    axes.legend(frameon=False)
    figure.savefig(out, dpi=110)
    console.print(f"wrote {out}")


def _start(engine: str, shards: Path, run: Path, workers: int, out: Path) -> list[Any]:
    """Start an engine; return its processes, which are of `multiprocessing` or of `subprocess`."""
    if engine != "plain":
        how = ["--cluster", "local"] if engine == "ray" else []
        options = ["--run", str(run), "--out", str(out), "--workers", str(workers), *how]
        return [subprocess.Popen([sys.executable, str(TOOL), *options, str(shards)])]
    context = multiprocessing.get_context("spawn")
    files = part_paths(shards)
    started = [context.Process(target=_plain, args=(run, files[k::workers], out)) for k in range(workers)]
    for process in started:
        process.start()
    return started


def _signal(started: Sequence[Any], number: int) -> None:
    """Send a signal to processes and to all that descend from them."""
    for _ in range(2):  # twice, as one may have been started while the others were counted
        for process in started:
            with contextlib.suppress(psutil.Error):
                first = psutil.Process(process.pid)
                for one in (first, *first.children(recursive=True)):
                    with contextlib.suppress(psutil.Error):
                        one.send_signal(number)


def _has_parts(out: Path) -> bool:
    return next(out.glob("detections/part-*"), None) is not None


def _rows(out: Path) -> int:
    """Return the number of radiographs in the results."""
    parts = part_paths(out / "detections")
    return sum(batch.num_rows for part in parts for batch in read_part(part, DETECTIONS, ["file"]))


def _runs(process: Any) -> bool:
    if isinstance(process, subprocess.Popen):
        return process.poll() is None
    return bool(process.is_alive())


def _use(me: psutil.Process) -> tuple[int, float]:
    """Return the resident bytes and the processor seconds so far of all processes that descend from this one.

    Shared pages count for each of them; the seconds of those that have ended are missing.
    """
    size, spent = 0, 0.0
    for process in me.children(recursive=True):
        try:
            size += process.memory_info().rss
            spent += sum(process.cpu_times()[:2])
        except psutil.Error:  # has just ended
            continue
    return size, spent


def _plain(run: Path, files: list[Path], out: Path) -> None:
    predictor = ExportedPredictor(run, threads=1)
    for file in files:
        rows = []
        for batch in read_part(file, RADIOGRAPHS):
            for name, content in zip(batch.column("file"), batch.column("image"), strict=True):
                radiograph = read_radiograph(HeldFile(name.as_py(), content.as_py()), window=predictor.window)
                height, width = radiograph.pixels.shape
                rows.append({"file": name.as_py(), "width": width, "height": height, **predictor(radiograph)})
        write_part(out / "detections" / file.name, box_rows(DETECTIONS, rows))


if __name__ == "__main__":
    main()
