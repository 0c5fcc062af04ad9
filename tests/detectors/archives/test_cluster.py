"""Prediction by a Ray cluster on this machine: the same bytes as without it, whatever dies on the way."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from archives import parts_of, write_archive

from data.archives.archive import find_archive
from detectors.archives.job import Job
from detectors.archives.predict import predict_archive
from detectors.archives.processes import Processes

ROOT = Path(__file__).parents[3]


def start(model: Path, archive: Path, out: Path, address: str = "local") -> subprocess.Popen[str]:
    """Start the command in a process of its own."""
    options = ["--run", model, "--cluster", address, "--workers", 2, "--part-size", 4, "--out", out, archive]
    return subprocess.Popen(
        [sys.executable, "tools/predict.py", *map(str, options)], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.slow
def test_an_actor_and_the_command_die_and_the_bytes_are_those_of_one_process(model: Path, tmp_path: Path) -> None:
    archive, out = write_archive(tmp_path / "in", 60), tmp_path / "out"
    (archive / "a" / "torn.png").write_bytes(b"\x89PNG")
    predict_archive(Job(find_archive(str(archive)), model), tmp_path / "whole", Processes(1), part_size=4)
    first = start(model, archive, out)
    while not (found := [*out.glob("detections/part-*")]) and first.poll() is None:
        time.sleep(0.02)
    first.kill()
    first.wait()
    assert found
    for path in found:
        assert path.read_bytes() == (tmp_path / "whole" / "detections" / path.name).read_bytes()
    second = start(model, archive, out)
    killed = False
    while second.poll() is None and not killed:
        for process in psutil.Process(second.pid).children(recursive=True):
            if not killed and "ray::Actor" in process.name() + "".join(process.cmdline()[:1]):
                process.send_signal(signal.SIGKILL)
                killed = True
        time.sleep(0.05)
    said, complained = second.communicate()
    assert second.returncode == 0, complained
    assert killed or len(found) == 16
    assert parts_of(out) == parts_of(tmp_path / "whole"), said


@pytest.mark.slow
def test_a_cluster_that_does_not_answer_is_named_in_one_line(model: Path, tmp_path: Path) -> None:
    process = start(model, write_archive(tmp_path / "in", 3), tmp_path / "out", "127.0.0.1:9")
    _, complained = process.communicate(timeout=120)
    assert process.returncode == 2
    (line,) = [line for line in complained.splitlines() if line.strip()]
    assert "127.0.0.1:9" in line
    assert "no Ray cluster answers at" in line
    assert "--cluster auto" in line
