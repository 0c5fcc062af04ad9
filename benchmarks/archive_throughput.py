r"""What a radiograph of an archive costs, and how throughput grows with workers and with slower storage.

The workers are those of `radiograph predict --archive`; storage is simulated: every file is kept back for a latency,
and the bytes of all workers together pass one link of limited bandwidth. The measured radiographs a second stand beside
a model with no free parameter: the least of

    compute    min(workers, cores) / (decode + network), processor seconds of one radiograph measured alone
    latency    workers * fetching threads / (latency + bytes / bandwidth)
    bandwidth  bandwidth / bytes

    OMP_NUM_THREADS=1 python benchmarks/archive_throughput.py --run exported/casting --run exported/casting8 \
        --out scaling.json --figure scaling.png
"""

import json
import multiprocessing
import os
import statistics
import time
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from multiprocessing.synchronize import Barrier
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
from matplotlib.figure import Figure

from data.archives.archive import Archive
from data.held_file import HeldFile
from data.radiograph import encode_radiograph
from data.synthesis.phantom import make_phantom
from detectors.evaluation.plots import COLORS, quiet, save_figure

FILES = 24
SETTLE = 1.5  # seconds until what was fetched ahead no longer counts


@dataclass(frozen=True)
class Storage:
    """A simulated store: seconds until a file's first byte, and bytes a second of the link that all share."""

    name: str
    latency: float
    bandwidth: float


STORAGE = (
    Storage("local", 0.0, float("inf")),
    Storage("20 ms, 100 MB/s", 0.02, 100e6),
    Storage("500 ms, 100 MB/s", 0.5, 100e6),
    Storage("20 ms, 1 MB/s", 0.02, 1e6),
    Storage("2 s, 100 MB/s", 2.0, 100e6),
)


class SlowPlace:
    """A place of files in memory behind a storage; `free` is when the shared link is free, on the machine's clock."""

    def __init__(self, files: dict[str, bytes], storage: Storage, free: Any) -> None:
        self.files, self.storage, self.free = files, storage, free

    def file(self, name: str) -> HeldFile:
        """Return a file when it has arrived."""
        content = self.files[name]
        time.sleep(self.storage.latency)
        with self.free.get_lock():
            arrival = max(self.free.value, time.monotonic()) + len(content) / self.storage.bandwidth
            self.free.value = arrival
        time.sleep(max(arrival - time.monotonic(), 0.0))
        return HeldFile(name, content)


def make_files() -> dict[str, bytes]:
    """Return phantoms of GDXray's size as PNG, by name."""
    size = (768, 572)
    phantoms = {f"{k}.png": make_phantom("castings", 0, k, size=size) for k in range(FILES)}
    return {name: encode_radiograph(name, phantom.pixels) for name, phantom in phantoms.items()}


def opened_worker(run: str, files: dict[str, bytes], storage: Storage, free: Any) -> Any:
    """Return the worker of an archive whose files lie in a store."""
    from data.image_quality.limits import read_limits
    from detectors.archives.job import Job
    from detectors.archives.worker import Worker

    worker = Worker(Job(Archive("tree", "."), Path(run), limits=read_limits(Path(run))))
    worker.place, worker.remote = SlowPlace(files, storage, free), True  # type: ignore[assignment]
    return worker


def rows_of(files: dict[str, bytes]) -> list[dict[str, Any]]:
    """Return the listing of the files."""
    return [{"file": name, "rows": 1, "width": None, "height": None, "fault": None} for name in files]


def serve(
    run: str,
    files: dict[str, bytes],
    storage: Storage,
    seconds: float,
    decode_only: bool,
    free: Any,
    start: Barrier,
    total: Any,
) -> None:
    """Work for some seconds after all have opened their model; add the radiographs to `total`."""
    worker = opened_worker(run, files, storage, free)
    find = (lambda *_: None) if decode_only else worker.predictor.find
    unit: Any = SimpleNamespace(rows=cycle(rows_of(files)))
    radiographs = worker._radiographs(unit)
    find(next(radiographs)[1], False)
    start.wait()
    begin = time.monotonic() + SETTLE
    count = 0
    for _name, radiograph in radiographs:
        find(radiograph, False)
        now = time.monotonic()
        if now > begin + seconds:
            break
        count += now > begin
    with total.get_lock():
        total.value += count
    os._exit(0)  # files that are still on their way need not arrive


def throughput(
    run: str, files: dict[str, bytes], storage: Storage, workers: int, seconds: float, decode_only: bool = False
) -> float:
    """Return radiographs a second of some processes, which leave the network out where `decode_only`."""
    context = multiprocessing.get_context("spawn")
    free, total = context.Value("d", 0.0), context.Value("i", 0)
    start = context.Barrier(workers)
    target = partial(serve, run, files, storage, seconds, decode_only, free, start, total)
    processes = [context.Process(target=target) for _ in range(workers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return total.value / seconds


def costs(run: str, files: dict[str, bytes]) -> dict[str, float]:
    """Return processor seconds of decoding and of the network, and bytes, of one radiograph; medians, one thread."""
    from detectors.runs.reading import read_sized

    free = multiprocessing.get_context("spawn").Value("d", 0.0)
    predictor = opened_worker(run, files, STORAGE[0], free).predictor
    decode, network = [], []
    for name, content in files.items():
        start = time.process_time()
        radiograph = read_sized(HeldFile(name, content), predictor.window, None)
        decode.append(time.process_time() - start)
        start = time.process_time()
        predictor.find(radiograph, False)
        network.append(time.process_time() - start)
    return {
        "decode_s": statistics.median(decode[2:]),
        "network_s": statistics.median(network[2:]),
        "bytes": statistics.mean(map(len, files.values())),
    }


def modeled(cost: dict[str, float], storage: Storage, workers: int, cores: int) -> tuple[float, str]:
    """Return radiographs a second by the model, and what limits them."""
    from detectors.archives.worker import FETCHING

    limits = {
        "compute": min(workers, cores) / (cost["decode_s"] + cost["network_s"]),
        "bandwidth": storage.bandwidth / cost["bytes"],
    }
    wait = storage.latency + cost["bytes"] / storage.bandwidth
    if wait:
        limits["latency"] = workers * FETCHING / wait
    first = min(limits, key=lambda name: limits[name])
    return limits[first], first


def draw(found: dict[str, Any], path: Path) -> None:
    """Draw measured beside modeled radiographs a second, and the model for many workers and usual links."""
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    rows = found["throughput"]
    runs = list(dict.fromkeys(row["run"] for row in rows))
    for place, row in enumerate(rows):
        left.bar(place, row["measured"], color=COLORS[runs.index(row["run"]) % len(COLORS)], width=0.7)
        left.plot([place - 0.42, place + 0.42], [row["modeled"]] * 2, color="#000000", linewidth=2)
    names = [f"{Path(row['run']).name}, {row['storage']}, {row['workers']}" for row in rows]
    left.set_xticks(range(len(rows)), names, rotation=35, ha="right", fontsize=7)
    left.set(ylabel="radiographs a second", title="measured (bars) and modeled (lines)")
    workers = np.geomspace(1, 10_000, 200)
    for color, (run, cost) in zip(COLORS, found["costs"].items(), strict=False):
        compute = workers / (cost["decode_s"] + cost["network_s"])
        right.plot(workers, compute, color=color, linestyle=":", linewidth=1)
        for style, gigabits in (("-", 1), ("--", 10)):
            rate = np.minimum(compute, gigabits * 1e9 / 8 / cost["bytes"])
            right.plot(workers, rate, style, color=color, label=f"{Path(run).name}, {gigabits} Gbit/s", linewidth=2)
    right.set(xscale="log", yscale="log", xlabel="workers, a core each", title="the model past this machine")
    right.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        quiet(axes)
    save_figure(figure, path)


@click.command()
@click.option(
    "--run", "runs", multiple=True, help="A run, packaged weights or an exported folder; none draws what --out has."
)
@click.option("--workers", "counts", multiple=True, type=int, default=(1, 2))
@click.option("--local-only", multiple=True, help="One of the runs whose files are local alone.")
@click.option("--decode-only", is_flag=True, help="Leave the network out, so that storage is what limits.")
@click.option("--cores", default=2, show_default=True)
@click.option("--seconds", default=5.0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="JSON file.")
@click.option("--figure", type=click.Path(path_type=Path))
def main(
    runs: tuple[str, ...],
    counts: tuple[int, ...],
    local_only: tuple[str, ...],
    decode_only: bool,
    cores: int,
    seconds: float,
    out: Path,
    figure: Path | None,
) -> None:
    if not runs and figure is not None:
        draw(json.loads(out.read_text()), figure)
        return
    files = make_files()
    found: dict[str, Any] = {"cores": cores, "costs": {}, "throughput": []}
    for run in runs:
        cost = costs(run, files)
        if decode_only:
            cost["network_s"] = 0.0
        found["costs"][run] = cost
        print(f"{run}: " + ", ".join(f"{name} {value:.4g}" for name, value in cost.items()), flush=True)
        for storage in STORAGE[:1] if run in local_only else STORAGE:
            for workers in counts:
                measured = throughput(run, files, storage, workers, seconds, decode_only)
                expected, limit = modeled(cost, storage, workers, cores)
                row = {"run": run, "storage": storage.name, "workers": workers, "measured": measured,
                       "modeled": expected, "limit": limit}  # fmt: skip
                found["throughput"].append(row)
                print(f"  {storage.name}, {workers}: {measured:.1f}/s, modeled {expected:.1f} ({limit})", flush=True)
                out.write_text(json.dumps(found, indent=1))
    if figure is not None:
        draw(found, figure)


if __name__ == "__main__":
    main()
