#!/usr/bin/env python3
"""Kill a cluster at work on an archive at random moments, start it again, and compare with an undisturbed run.

Victims come in turn: an actor with a model, the head's store (gcs_server), the node's scheduler (raylet), Ray's driver,
and the command itself. After each death the command is started again in the same folder until the archive is done;
then every part must be that of the undisturbed run, byte for byte, and no radiograph may be there twice. What the
command says when it fails must be one line.

    python benchmarks/archive_prediction.py write shards --count 4000 --shard 100
    python benchmarks/archive_kills.py shards --run EXPORTED --kills 20
"""

import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import click
import psutil

from data.archives.parts import part_paths, read_part
from data.archives.schema import DETECTIONS
from data.console import console
from radiograph.command import PATH, Command

TOOL = Path(__file__).resolve().parents[1] / "tools" / "predict.py"
VICTIMS = ("actor", "gcs_server", "raylet", "driver", "command")
PATIENCE = 180.0  # seconds in which a disturbed start must have ended, one way or the other


def start(archive: Path, run: Path, out: Path, said: Path) -> subprocess.Popen[bytes]:
    """Start the command; what it says on standard error goes to a file."""
    command = [sys.executable, str(TOOL), "--run", str(run), "--cluster", "local", "--workers", "2", "--out", str(out)]
    with said.open("wb") as stream:
        return subprocess.Popen([*command, str(archive)], stdout=subprocess.DEVNULL, stderr=stream)


def find_victim(command: int, kind: str, rng: random.Random) -> psutil.Process | None:
    """Return a process of this kind among those of a command, None where there is none at the moment."""
    try:
        process = psutil.Process(command)
        if kind == "command":
            return process
        if kind == "driver":
            inner = [child for child in process.children() if "resource_tracker" not in " ".join(child.cmdline())]
            return rng.choice(inner) if inner else None
        names = {"actor": "ray::Actor"}
        named = [p for p in process.children(recursive=True) if names.get(kind, kind) in " ".join(p.cmdline()[:1])]
        return rng.choice(named) if named else None
    except psutil.Error:
        return None


def parts(out: Path) -> dict[str, bytes]:
    """Return the bytes of every part, and of the lists of unreadable and strange radiographs, by name."""
    lists = [out / "unreadable.csv", out / "warnings.csv"]
    files = [*part_paths(out / "detections"), *lists, out / "manifest.json"]
    return {path.name: path.read_bytes() for path in files}


def check_each_once(out: Path, count: int) -> None:
    """Raise AssertionError unless every radiograph is there once."""
    names = Counter(
        str(name)
        for path in part_paths(out / "detections")
        for batch in read_part(path, DETECTIONS, ["file"])
        for name in batch.column("file")
    )
    assert len(names) == count, f"{len(names)} radiographs of {count}"
    assert max(names.values()) == 1, names.most_common(1)


def one_death(
    archive: Path, run: Path, out: Path, kind: str, seconds: float, rng: random.Random, said: Path
) -> tuple[str, int | None, float]:
    """Start, kill one process of a kind at a random moment, and wait; return what happened, the code and the time."""
    process = start(archive, run, out, said)
    time.sleep(rng.uniform(0, seconds))
    before = len([*out.glob("detections/part-*")])
    victim = find_victim(process.pid, kind, rng)
    began = time.perf_counter()
    if victim is not None and process.poll() is None:
        victim.send_signal(signal.SIGKILL)
        happened = f"{kind} killed at {before} parts"
    else:
        happened = f"no {kind} at that moment, {before} parts"
    code = process.wait(PATIENCE)
    return happened, code, time.perf_counter() - began


@click.command(cls=Command)
@click.argument("archive", type=PATH)
@click.option("--run", required=True, type=PATH, help="Folder of an exported model.")
@click.option("--kills", type=click.IntRange(1), default=20)
@click.option("--seed", type=int, default=0)
@click.option("--victim", "victims", type=click.Choice(VICTIMS), multiple=True, default=VICTIMS, help="Repeatable.")
def main(archive: Path, run: Path, kills: int, seed: int, victims: tuple[str, ...]) -> None:
    """Do as the text above says; an AssertionError names what was broken."""
    rng, deaths, folders = random.Random(seed), 0, 0
    with tempfile.TemporaryDirectory(prefix="archive-kills-") as name:
        folder, said = Path(name), Path(name) / "said"
        began = time.perf_counter()
        code: int | None = start(archive, run, folder / "whole", said).wait()
        seconds = time.perf_counter() - began
        assert code == 0, said.read_text()
        whole = parts(folder / "whole")
        count = sum(
            batch.num_rows
            for path in part_paths(folder / "whole" / "detections")
            for batch in read_part(path, DETECTIONS, ["file"])
        )
        check_each_once(folder / "whole", count)
        number = len(part_paths(folder / "whole" / "detections"))
        console.print(f"undisturbed: {count} radiographs in {number} parts, {seconds:.0f} s")
        while deaths < kills:
            folders += 1
            out, done = folder / f"killed-{folders}", False
            while not done:
                if deaths == kills:
                    code = start(archive, run, out, said).wait()
                    happened, waited = "undisturbed", 0.0
                else:
                    kind = victims[deaths % len(victims)]
                    happened, code, waited = one_death(archive, run, out, kind, seconds, rng, said)
                    deaths += "killed" in happened
                lines = [line for line in said.read_text(errors="replace").splitlines() if line.strip()]
                console.print(f"{deaths:3d} {happened}; exit code {code} after {waited:.0f} s; {' '.join(lines)[:150]}")
                for path in sorted((out / "detections").glob("part-*")):
                    assert path.read_bytes() == whole[path.name], f"{path} differs from that of the undisturbed run"
                assert code in (0, 2, -signal.SIGKILL), said.read_text()
                assert code != 2 or len(lines) == 1, lines
                done = code == 0
            assert parts(out) == whole, "the results differ from those of the undisturbed run"
            check_each_once(out, count)
            shutil.rmtree(out)
        console.print(f"{deaths} deaths, {folders} folders, all as in the undisturbed run")


if __name__ == "__main__":
    main()
