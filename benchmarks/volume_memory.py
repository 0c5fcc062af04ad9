#!/usr/bin/env python3
"""Memory that the map and the analysis of a volume take, by its depth: one process a depth, on one simulated part.

python benchmarks/volume_memory.py [--side 128] [--depth 64 --depth 640] [--step map|measure]

A part of additive manufacturing is repeated along z. `anonymous` is what the process holds for itself, sampled every
20 ms; `resident` adds pages of memory-mapped files, which the system takes back whenever it needs them.
"""

import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import click
import numpy as np
import torch

from data.volumes.ct_phantom import make_ct_phantom
from data.volumes.gray_levels import find_gray_levels
from data.volumes.otsu import FIXED
from data.volumes.reading import read_volume
from data.volumes.writing import SlabWriter
from detectors.build import build_model
from detectors.config.files import read_config
from detectors.experiments.pore_analysis import analyze_pores, find_part, map_with_thresholds
from detectors.volumes.inference import write_map


def anonymous_megabytes() -> float:
    """Return the memory that the process holds besides mapped files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def write_part(path: Path, side: int, depth: int) -> None:
    """Write a simulated part of 64 slices, repeated to `depth`, as uint16 NPY."""
    part = make_ct_phantom("ct_am", 1, 0, family="cylinder", size=(side, 64), quality="good", projections=side // 2)
    writer = SlabWriter(path, (depth, side, side), np.uint16)
    for first in range(0, depth, 64):
        writer.append(part.values[: min(64, depth - first)])
    writer.finish()


def measure(path: Path, step: str) -> None:
    """Map a volume with an untrained network, or measure its pores by thresholds; print time and memory."""
    volume = read_volume(path)
    levels = find_gray_levels(volume)
    model = build_model(read_config("ct_unet").model, 1).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    start, begin, peak, done = anonymous_megabytes(), time.process_time(), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], anonymous_megabytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    if step == "map":
        write_map(model, volume, levels, path.with_name("map.npy"), "key")
    else:
        part = find_part(volume, levels, path.parent)
        scores = map_with_thresholds(volume, levels, path.parent, FIXED)
        found = analyze_pores(volume, levels, part, scores, 0.5, path.parent / "out")
        print(f"{len(found.table)} pores")
    done.set()
    watcher.join()
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    shape = " x ".join(map(str, volume.shape))
    print(f"{step} {shape}: {time.process_time() - begin:.0f} CPU s, anonymous {start:.0f} MB before, "
          f"{peak[0]:.0f} MB at most, resident {resident:.0f} MB at most")  # fmt: skip


@click.command()
@click.option("--side", default=128, show_default=True, help="Rows and columns of a slice.")
@click.option("--depth", default=(64, 640), show_default=True, multiple=True, help="Slices; once for each volume.")
@click.option("--step", type=click.Choice(["map", "measure"]), multiple=True, default=("map", "measure"))
@click.option("--volume", type=click.Path(path_type=Path), hidden=True)
def main(side: int, depth: tuple[int, ...], step: tuple[str, ...], volume: Path | None) -> None:
    """Print the memory that each step takes on volumes of each depth."""
    if volume is not None:
        torch.set_num_threads(1)
        measure(volume, step[0])
        return
    with tempfile.TemporaryDirectory() as folder:
        for slices in depth:
            for name in step:
                path = Path(folder) / f"{name}{slices}" / "volume.npy"
                write_part(path, side, slices)
                subprocess.run([sys.executable, __file__, "--volume", str(path), "--step", name], check=True)


if __name__ == "__main__":
    main()
