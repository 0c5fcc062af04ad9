"""Kill commands at random moments, fill their disk, take away their permissions, and check what they leave.

Each of train, predict, simulate-defects, make-phantoms and evaluate works on a few tiny phantoms in a child that gets
SIGKILL at a random moment of its usual duration, and is started again in the same folder until it ends. At each death
every file under its final name must be whole: it is compared with that of a run that was never disturbed (without
times), checkpoints by reading them. In the end all must be as in the undisturbed run, weights bit for bit, without a
temporary file, and the inputs unchanged.

    python benchmarks/sudden_death.py --kills 50
"""

import argparse
import contextlib
import csv
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # children are forked: there must be no threads
os.environ.setdefault("MPLBACKEND", "Agg")

import cv2
import torch
import yaml

# What the commands import when they are called, once for all children.
from detectors.backbones.checkpoint_file import read_checkpoint
from radiograph.cli import main as radiograph

COMMANDS = ("train", "predict", "simulate-defects", "make-phantoms", "evaluate")
TIMES = (
    "seconds_per_image",
    "val_seconds_per_image",
    "images_per_second",
    "run_name",
)  # what differs between two equal runs
EPOCHS = 4
SETTINGS = {
    "name": "tiny",
    "seed": 1,
    "model": {
        "name": "faster_rcnn", "backbone": "resnet18", "width": 0.25, "pyramid": True, "fpn_channels": 8,
        "min_size": None, "crop_size": 7, "head_channels": 8,
        "rpn": {"anchor_sizes": [[8], [16], [32]], "proposals": 8, "proposals_before_nms": 16},
    },
    "data": {"workers": 0, "augmentation": {"crop": {"size": 64}, "noise": 0.01}},
    "train": {"epochs": EPOCHS, "batch_size": 2, "device": "cpu", "ema_decay": 0.9},
}  # fmt: skip


def child(arguments: list[str], prepare: Callable[[], None] | None = None) -> int:
    """Start a command in a child process, its output in the file "said" of the working folder; return its id."""
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        with Path("said").open("wb") as said:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
        if prepare:
            prepare()
        radiograph(arguments, prog_name="radiograph")
        code = 0
    except SystemExit as leave:
        code = int(leave.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def run(arguments: list[str], prepare: Callable[[], None] | None = None) -> int:
    """Run a command to its end; return its exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(child(arguments, prepare), 0)[1])


def digest(folder: Path) -> str:
    """Return a hash of the names and bytes of all files in a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(str(f).encode() + f.read_bytes() for f in files)).hexdigest()


def content(path: Path) -> Any:
    """Return what a file holds, without times; raises where it is not whole."""
    if path.suffix == ".json":
        return without_times(json.loads(path.read_text()))
    if path.suffix == ".csv":
        with path.open() as stream:
            return without_times(list(csv.DictReader(stream)))
    if path.suffix == ".ckpt":
        return read_checkpoint(path)["epoch"]
    if path.suffix == ".png":
        pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert pixels is not None, f"{path} is not whole"
        return hashlib.sha256(pixels.tobytes()).hexdigest()
    return path.read_bytes()


def without_times(value: Any) -> Any:
    """Return nested values without those that measure time."""
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in TIMES}
    return [without_times(v) for v in value] if isinstance(value, list) else value


def final_files(folder: Path) -> dict[str, Path]:
    """Return the files under their final names: neither temporary nor TensorBoard's, which grow."""
    return {
        str(path.relative_to(folder)): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".") and "tfevents" not in path.name
    }


class Scene:
    """A command on tiny data in its own folder, and what it writes when nothing disturbs it."""

    def __init__(self, command: str, folder: Path, run_folder: Path) -> None:
        self.command, self.folder, self.run_folder = command, folder, run_folder
        self.inputs = folder / "inputs"
        began = time.perf_counter()
        self.reference_out = folder / "reference" / command
        code = run(self.arguments(self.reference_out))
        assert code == 0, f"{command}: {Path('said').read_text()[-2000:]}"
        self.seconds = time.perf_counter() - began
        self.reference = {n: content(p) for n, p in final_files(self.result_of(self.reference_out)).items()}

    def arguments(self, out: Path) -> list[str]:
        """Return the command line of a start into `out`: training goes on where there is something to go on from."""
        images, annotations = self.inputs, self.inputs / "annotations.json"
        if self.command == "train":
            for checkpoint in out.glob("tiny/*/last.ckpt"):
                return ["train", "--resume", str(checkpoint.parent)]
            return ["train", "--cfg", str(self.folder / "tiny.yaml"), "--set", f"output={out}"]
        every = {
            "predict": ["--run", str(self.run_folder), "--threshold", "0", str(images)],
            "simulate-defects": [str(annotations), "--per-image", "2"],
            "make-phantoms": ["--count", "6", "--style", "easy", "--size", "128x96", "--workers", "1"],
            "evaluate": ["--run", str(self.run_folder), "--data", str(annotations)],
        }
        return [self.command, *every[self.command], "--out", str(out)]

    def result_of(self, out: Path) -> Path:
        """Return the folder with the files of a start into `out`."""
        if self.command != "train":
            return out
        runs = [path.parent for path in out.glob("tiny/*/last.ckpt")]
        assert len(runs) <= 1, f"{len(runs)} runs instead of one"
        return runs[0] if runs else out / "none"

    def check_parts(self, out: Path) -> None:
        """Raise AssertionError unless every file under its final name is whole."""
        result = self.result_of(out)
        growing = self.command == "train" and not (result / "metrics.json").exists()
        for name, path in final_files(result).items():
            found = content(path)
            if growing and name in ("last.ckpt", "best.ckpt", "log.csv"):
                whole = self.reference[name]
                ok = found <= EPOCHS if isinstance(found, int) else found == whole[: len(found)]
            else:
                ok = name == "config.yaml" or found == self.reference[name]
            assert ok, f"{path} differs from that of the undisturbed run"

    def check_whole(self, out: Path) -> None:
        """Raise AssertionError unless all is as in the undisturbed run, weights bit for bit."""
        self.check_parts(out)
        result = self.result_of(out)
        assert set(final_files(result)) == set(self.reference), set(final_files(result)) ^ set(self.reference)
        hidden = [p for p in out.parent.rglob(".*") if p.is_file() or p.name.startswith(f".{out.name}-")]
        assert not hidden, f"left behind: {hidden}"
        if self.command == "train":
            one, other = (
                read_checkpoint(self.result_of(o) / "last.ckpt")["training"] for o in (self.reference_out, out)
            )
            for part in ("model", "averaged"):
                assert all(torch.equal(v, other[part][k]) for k, v in one[part].items()), f"{part} differs"


def kill_often(scene: Scene, kills: int, seed: int) -> int:
    """Kill a command `kills` times; return how many folders were finished on the way."""
    rng, inputs = random.Random(f"{scene.command} {seed}"), digest(scene.inputs)
    deaths = folders = 0
    while deaths < kills:
        folders += 1
        out = scene.folder / f"killed-{scene.command}-{folders}" / "out"
        done, epoch = False, 0
        while not done:
            process = child(scene.arguments(out))
            if deaths < kills:
                time.sleep(rng.uniform(0, scene.seconds))
                os.kill(process, signal.SIGKILL)
            status = os.waitpid(process, 0)[1]
            if os.WIFSIGNALED(status):
                deaths += 1
            else:
                assert os.waitstatus_to_exitcode(status) == 0, Path("said").read_text()[-2000:]
                done = True
            scene.check_parts(out)
            assert digest(scene.inputs) == inputs, "the inputs changed"
            if scene.command == "train" and (scene.result_of(out) / "last.ckpt").exists():
                now = read_checkpoint(scene.result_of(out))["epoch"]
                assert now >= epoch, "an epoch was lost"
                epoch = now
        time.sleep(2.1 if scene.command == "predict" else 0)  # what is younger may belong to somebody else
        if scene.command == "predict":
            assert run(scene.arguments(out)) == 0
        scene.check_whole(out)
        shutil.rmtree(out.parent)
    return folders


def refused_in_one_line(scene: Scene, out: Path, prepare: Callable[[], None] | None = None) -> None:
    """Raise AssertionError unless a command that cannot write ends in one line, exit code 2 and no broken file."""
    inputs = digest(scene.inputs)
    code = run(scene.arguments(out), prepare)
    said = Path("said").read_text()
    lines = [line for line in said.splitlines() if "error: " in line]
    assert code == 2, f"exit code {code}: {said[-1500:]}"
    assert len(lines) == 1, said[-1500:]
    assert "Traceback" not in said, said[-1500:]
    assert digest(scene.inputs) == inputs, "the inputs changed"
    if os.access(out, os.R_OK):
        scene.check_parts(out)


def small_files() -> None:
    """Let no file grow over 1,500 bytes, as on a disk that is almost full."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Any:
    """Mount a small file system; yields None where that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True)
    try:
        yield None if done.returncode else folder
    finally:
        if not done.returncode:
            subprocess.run(["umount", folder], check=True)


def cannot_write(scene: Scene) -> list[str]:
    """Try a command with files that may not grow, on a full disk and in a read-only folder; return what was tried."""
    refused_in_one_line(scene, scene.folder / "limited" / scene.command, small_files)
    tried = ["files that may not grow"]
    with mounted(scene.folder / "disk" / scene.command, "size=24k") as disk:
        if disk:
            refused_in_one_line(scene, disk / "out")
            tried.append("full disk")
    locked = scene.folder / "locked" / scene.command
    with mounted(locked, "ro,size=24k") as disk:
        if not disk:
            locked.chmod(0o555)
        if disk or os.geteuid():  # permissions do not bind root
            refused_in_one_line(scene, locked / "out")
            tried.append("read-only folder")
    return tried


def two_at_once(scene: Scene) -> str:
    """Start a command twice at the same moment into one place: both must end well, and all be whole."""
    out = scene.folder / "twice" / scene.command
    processes = [child(scene.arguments(out)) for _ in range(2)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]
    assert codes == [0, 0], f"{codes}: {Path('said').read_text()[-1500:]}"
    if scene.command == "train":
        runs = sorted((out / "tiny").iterdir())
        assert len(runs) == 2, runs
        assert all((folder / "metrics.json").exists() for folder in runs)
        return "two folders"
    scene.check_parts(out)
    assert set(final_files(out)) == set(scene.reference)
    return "one whole result"


def prepare_inputs(folder: Path) -> None:
    """Make the phantoms that all commands read."""
    inputs = folder / "inputs"
    code = run(["make-phantoms", "--count", "5", "--style", "easy", "--size", "128x96", "--seed", "7", "--workers", "1",
                "--out", str(inputs)])  # fmt: skip
    assert code == 0, Path("said").read_text()[-2000:]
    for picture in inputs.glob("*.png"):
        picture.unlink()


def prepare_run(folder: Path) -> Path:
    """Train a run to predict with; return its folder."""
    inputs = folder / "inputs"
    source = {"json": str(inputs / "annotations.json")}
    values = SETTINGS | {"data": SETTINGS["data"] | {"train": source, "val": source}}  # type: ignore[operator]
    (folder / "tiny.yaml").write_text(yaml.safe_dump(values))
    overrides = ["--set", f"output={folder / 'runs'}", "--set", "train.epochs=1"]
    code = run(["train", "--cfg", str(folder / "tiny.yaml"), *overrides])
    assert code == 0, Path("said").read_text()[-2000:]
    (found,) = (folder / "runs" / "tiny").iterdir()
    return found


def main() -> None:
    """Do as the options say; an AssertionError names what was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="of each command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("commands", nargs="*", metavar="COMMAND", help="by default all: " + ", ".join(COMMANDS))
    options = parser.parse_args()
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory(prefix="sudden-death-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        os.chdir(folder)
        prepare_inputs(folder)
        commands = options.commands or COMMANDS
        needs_run = set(commands) - {"simulate-defects", "make-phantoms"}
        run_folder = prepare_run(folder) if needs_run else folder
        for command in commands:
            scene = Scene(command, folder, run_folder)
            folders = kill_often(scene, options.kills, options.seed)
            print(
                f"{command} ({scene.seconds:.1f} s): {options.kills} deaths, {folders} folders, all whole", flush=True
            )
            print(f"  refused in one line: {', '.join(cannot_write(scene))}", flush=True)
            print(f"  two at once: {two_at_once(scene)}", flush=True)
        os.chdir("/")


if __name__ == "__main__":
    main()
