"""Processes that predict on archives may die at any moment: what is found does not depend on it."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing import active_children
from pathlib import Path

import pytest
from archives import PART, parts_of

from data.archives.archive import find_archive
from data.errors import InputError
from detectors.archives.job import Job, Unit
from detectors.archives.job import Result as UnitResult
from detectors.archives.predict import predict_archive
from detectors.archives.processes import Processes

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_processes_that_die_are_replaced(model: Path, radiographs: Path, whole: Path, tmp_path: Path) -> None:
    killed = []

    def engine(job: Job, units: Iterator[Unit]) -> Iterator[UnitResult]:
        for number, result in enumerate(Processes(2)(job, units)):
            yield result
            if number in (0, 3):
                victim = active_children()[0]
                os.kill(victim.pid, signal.SIGKILL)
                killed.append(victim.pid)

    predict_archive(Job(find_archive(str(radiographs)), model), tmp_path / "out", engine, PART)
    assert len(killed) == 2
    assert parts_of(tmp_path / "out") == parts_of(whole)
    assert active_children() == []


def test_a_unit_that_always_ends_its_process_is_named(model: Path, tmp_path: Path) -> None:
    """Nothing can be unpacked here but by a process that ends at once."""
    units = iter([Unit(0, [{"file": "x.png"}, {"file": "y.png"}]), Unit(1, [{"file": "z.png"}])])
    job = Job(find_archive(str(tmp_path)), Deadly("x"))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"unit \d .*ended its process 3 times \(exit code 3\)"):
        [*Processes(2)(job, units)]


class Deadly(str):
    """What ends the process that it is unpacked in."""

    def __reduce__(self) -> tuple:
        return os._exit, (3,)


@pytest.mark.slow
def test_killed_at_random_moments_it_goes_on(model: Path, radiographs: Path, whole: Path, tmp_path: Path) -> None:
    arguments = ["--run", model, "--workers", 2, "--part-size", PART, "--out", tmp_path / "out", radiographs]
    command = [sys.executable, "tools/predict.py", *map(str, arguments)]
    rng, deaths = random.Random(1), 0
    for _ in range(3):
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(0.5, 2.5))
        process.kill()
        deaths += process.wait() < 0
    assert deaths
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert parts_of(tmp_path / "out") == parts_of(whole)
