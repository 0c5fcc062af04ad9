#!/usr/bin/env python3
"""Measure simulated radiographs per second, made in memory, with one and with two processes."""

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import click
import cv2
from rich.table import Table

from data.console import console
from data.synthesis.phantom import make_phantom
from radiograph.command import Command


def make(index: int, kind: str, style: str, size: tuple[int, int] | None) -> int:
    """Make one phantom and return its number of defects."""
    return len(make_phantom(kind, 0, index, style=style, size=size).labels)


@click.command(cls=Command)
@click.option("--n", type=click.IntRange(1), default=60, help="Radiographs a measurement.")
def main(n: int) -> None:
    """Print a table of radiographs per second for castings and welds in both styles."""
    cv2.setNumThreads(1)
    table = Table(title=f"phantoms per second, {n} each")
    for column in ("kind", "style", "pixels", "one process", "two processes"):
        table.add_column(column)
    cases = [
        ("castings", "realistic", (768, 572)),
        ("castings", "easy", (320, 320)),
        ("welds", "realistic", (1536, 512)),
        ("welds", "easy", (384, 256)),
    ]
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn"), cv2.setNumThreads, (1,)) as pool:
        for kind, style, size in cases:
            job = partial(make, kind=kind, style=style, size=size)
            list(map(job, range(2)))
            list(pool.map(job, range(8)))  # both processes have imported everything
            rates = []
            for run in (map, partial(pool.map, chunksize=4)):
                start = time.perf_counter()
                list(run(job, range(n)))
                rates.append(n / (time.perf_counter() - start))
            table.add_row(kind, style, "x".join(map(str, size)), *(f"{rate:.1f}" for rate in rates))
    console.print(table)


if __name__ == "__main__":
    main()
