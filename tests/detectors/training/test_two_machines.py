"""Two machines that share nothing but the network, shown as two processes with folders of their own over loopback."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from detectors.backbones.weights import read_checkpoint
from detectors.config.files import write_config
from tests.detectors.training.test_loop import tiny_config

ROOT = Path(__file__).resolve().parents[3]
# Trains two epochs, goes on to the third, and is then given a torn checkpoint: on every machine in its own folder.
TRAINING = """
import os
from pathlib import Path
from data.errors import InputError
from detectors.config.files import read_config
from detectors.training import train
run, _ = train(read_config("tiny.yaml"))
train(read_config(run / "config.yaml", ["train.epochs=3"]), run)
if os.environ["RANK"] == "0":
    shown = Path("last.ckpt").write_bytes((run / "last.ckpt").read_bytes())
    (run / "last.ckpt").write_bytes(b"torn")
try:
    train(read_config(run / "config.yaml", ["train.epochs=4"]), run)
except InputError as error:
    Path("error.txt").write_text(str(error))
"""


def launch(machines: list[Path], script: Path) -> list[int]:
    """Run a script on every machine at once, in its own folder; return the exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = []
    for rank, machine in enumerate(machines):
        # What torchrun sets on machines with one process each, without the seconds that it takes to start.
        torchrun = {"RANK": str(rank), "LOCAL_RANK": "0", "WORLD_SIZE": str(len(machines)), "LOCAL_WORLD_SIZE": "1",
                    "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1",
                    "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}  # fmt: skip
        with (machine / "log.txt").open("w") as log:
            running.append(
                subprocess.Popen(
                    [sys.executable, str(script)], cwd=machine, env=os.environ | torchrun, stdout=log, stderr=log
                )
            )
    return [process.wait(timeout=240) for process in running]


@pytest.mark.slow
def test_machines_with_folders_of_their_own_train_and_resume(castings: Path, tmp_path: Path) -> None:
    (tmp_path / "training.py").write_text(TRAINING)
    machines = [tmp_path / name for name in ("first", "second")]
    for machine in machines:
        shutil.copytree(castings.parent, machine / "data")
        constant = {"kind": "step", "milestones": [9], "warmup_steps": 0}
        config = tiny_config(Path("data") / castings.name, Path("runs"), epochs=2, schedule=constant)
        write_config(machine / "tiny.yaml", config)
    assert launch(machines, tmp_path / "training.py") == [0, 0], (machines[1] / "log.txt").read_text()
    (run,) = (machines[0] / "runs" / "tiny").iterdir()
    assert json.loads((run / "metrics.json").read_text())["images"] == 6
    assert {result["image_id"] % 2 for result in json.loads((run / "detections.json").read_text())} == {0, 1}
    training = read_checkpoint(machines[0] / "last.ckpt")["training"]
    assert (
        training["step"] == 6
    )  # three epochs of two steps: four samples, of six shared by two, are two batches of two
    assert not torch.equal(training["random"][0]["torch"], training["random"][1]["torch"])
    # The second machine keeps what resuming looks for there, and nothing else.
    (other,) = (machines[1] / "runs" / "tiny").iterdir()
    assert [path.name for path in other.iterdir()] == ["config.yaml"]
    assert other.name == run.name
    # What is wrong with the run is said on both, and neither waits for the other.
    first, second = ((machine / "error.txt").read_text() for machine in machines)
    assert first == second
    assert "last.ckpt" in first
