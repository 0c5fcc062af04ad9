"""Writers killed by SIGKILL at each of their writes: nothing broken is taken for whole, a second start ends well."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from data.coco import CocoDataset, write_coco
from data.radiograph import read_radiograph, write_radiograph

# Kills itself instead of moving its k-th file to its place, or right after that.
DEADLY = """
import os, signal, sys
moves, at, before = 0, int(sys.argv[1]), sys.argv[2] == "before"
real = os.replace
def replace(source, target):
    global moves
    moves += 1
    if moves == at and before:
        os.kill(os.getpid(), signal.SIGKILL)
    real(source, target)
    if moves == at:
        os.kill(os.getpid(), signal.SIGKILL)
os.replace = replace
"""
PHANTOMS = """
from data.synthesis.phantom_set import write_phantoms
write_phantoms("welds", 2, sys.argv[3], 5, style="easy", size=(96, 80), workers=1)
"""
SIMULATED = """
from pathlib import Path
from data.coco import read_coco
from data.synthesis.simulated_set import write_simulated
from data.synthesis.simulation_config import SimulationConfig
source = Path(sys.argv[3]).parent / "in"
write_simulated(read_coco(source / "in.json"), source, sys.argv[3], SimulationConfig(), 2)
"""
# Prints the ids of its two workers as soon as each has made something.
WORKING = """
import sys, multiprocessing, threading, time
from pathlib import Path
from data.synthesis.phantom_set import write_phantoms
def watch():
    while sum(1 for _ in Path(sys.argv[1]).rglob("[CV]*.png")) < 4:
        time.sleep(0.05)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
if __name__ == "__main__":
    threading.Thread(target=watch, daemon=True).start()
    write_phantoms("castings", 5000, sys.argv[1], 0, style="easy", size=(64, 64), workers=2)
"""


def run(code: str, at: int, when: str, out: Path) -> int:
    command = [sys.executable, "-c", DEADLY + code, str(at), when, str(out)]
    return subprocess.run(command, capture_output=True, check=False, timeout=300).returncode


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def radiographs(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    images = []
    for k in (1, 2):
        write_radiograph(tmp_path / f"in/{k}.png", 0.4 + rng.normal(0, 0.004, (70, 90)), 8)
        images.append({"id": k, "file_name": f"{k}.png", "width": 90, "height": 70})
    write_coco(tmp_path / "in/in.json", CocoDataset(images, [], [{"id": 1, "name": "defect"}]))
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(("code", "writes"), [(PHANTOMS, 7), (SIMULATED, 5)], ids=["phantoms", "simulated"])
def test_a_second_start_after_any_write_ends_as_an_undisturbed_one(radiographs: Path, code: str, writes: int) -> None:
    inputs = contents(radiographs / "in")
    assert run(code, 0, "before", radiographs / "whole") == 0
    whole = contents(radiographs / "whole")
    assert len(whole) == writes  # the last is the last
    for at in (1, writes // 2 + 1, writes):
        when = ("before", "after")[at % 2]
        out = radiographs / f"{at}"
        assert run(code, at, when, out) == -signal.SIGKILL
        for name, content in contents(out).items():  # every file that has its name is whole
            if not Path(name).name.startswith("."):
                assert content == whole[name], name
        assert run(code, 0, "before", out) == 0
        assert contents(out) == whole
    assert contents(radiographs / "in") == inputs
    images = json.loads(whole["annotations.json"])["images"]
    assert all(read_radiograph(radiographs / "whole" / image["file_name"]).pixels.any() for image in images)


@pytest.mark.slow
def test_workers_end_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WORKING, str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        workers = [int(pid) for pid in parent.stdout.readline().split()]
        parent.kill()
    assert len(workers) == 2
    deadline = time.monotonic() + 60
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(alive, workers))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
