#!/usr/bin/env python3
"""Time `tools/predict.py` of two checkouts in turn, on the same run and radiographs.

    python benchmarks/predicting_speed.py --before OLD_CHECKOUT --run RUN RADIOGRAPHS...

The whole command is timed, from start to written results, in processor seconds and by the clock.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]


def seconds(tree: Path, run: Path, radiographs: tuple[str, ...]) -> tuple[float, float]:
    """Return processor seconds and seconds by the clock of one `predict` of a checkout into an empty folder."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, str(tree / "tools" / "predict.py"), "--run", str(run), "--out", f"{out}/predicted"]
        environment = {**os.environ, "PYTHONPATH": str(tree)}
        subprocess.run([*command, *radiographs], check=True, env=environment, stdout=subprocess.DEVNULL, cwd=out)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, time.monotonic() - start


@click.command()
@click.argument("radiographs", nargs=-1, required=True, type=click.Path(exists=True, resolve_path=True))
@click.option("--before", type=click.Path(exists=True, path_type=Path, resolve_path=True), required=True)
@click.option("--run", type=click.Path(exists=True, path_type=Path, resolve_path=True), required=True)
@click.option("--pairs", type=click.IntRange(1), default=5, show_default=True)
def main(radiographs: tuple[str, ...], before: Path, run: Path, pairs: int) -> None:
    """Print both times of every pair, and the ratio of the medians."""
    times: dict[str, list[tuple[float, float]]] = {"before": [], "now": []}
    for _ in range(pairs):
        for name, tree in (("before", before), ("now", ROOT)):
            times[name].append(seconds(tree, run, radiographs))
            print(f"{name:6s} {times[name][-1][0]:7.2f} s of processor, {times[name][-1][1]:7.2f} s", flush=True)
    for k, what in enumerate(("processor", "clock")):
        medians = {name: statistics.median(pair[k] for pair in values) for name, values in times.items()}
        print(f"{what}: {medians['now'] / medians['before']:.3f} of before (medians of {pairs})")


if __name__ == "__main__":
    main()
