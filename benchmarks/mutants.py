"""Break one line at a time and see whether the tests notice.

Each mutant is a change by hand of one expression (`mutant_list.py`), with the tests aimed at that module. The tests run
in a fork of this process on a copy of the tree; a mutant is killed where they fail. Every test file has to pass on the
unchanged copy first.

    python benchmarks/mutants.py            # all
    python benchmarks/mutants.py rle dicom  # those of modules with these words in their path
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # children are forked: there must be no threads
os.environ.setdefault("MPLBACKEND", "Agg")

import accelerate  # noqa: F401
import albumentations  # noqa: F401
import cv2
import matplotlib.figure  # noqa: F401
import pycocotools.mask  # noqa: F401
import pydicom  # noqa: F401
import pytest
import scipy.stats  # noqa: F401
import tifffile  # noqa: F401
import torch  # noqa: F401
import torchvision  # noqa: F401
import xraydb  # noqa: F401
from mutant_list import MUTANTS  # type: ignore[import-not-found]  # lies beside this script

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 240


def in_copy(tree: Path, tests: tuple[str, ...]) -> int | None:
    """Run test files on a copy of the tree in a fork; return pytest's exit code, None where it took too long."""
    sys.stdout.flush()
    child = os.fork()
    if not child:
        code = 70
        try:
            os.chdir(tree)
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            sys.path.insert(0, str(tree))
            os.environ["PYTHONPATH"] = str(tree)
            code = int(pytest.main(["-x", "-q", "-m", "", "-p", "no:cacheprovider", *tests]))
        finally:
            os._exit(code)
    stop = time.monotonic() + SECONDS
    while time.monotonic() < stop:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def main() -> None:
    """Run the mutants and print what became of each, and the share that was killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*")
    words = parser.parse_args().words
    chosen = [m for m in MUTANTS if not words or any(word in m.path for word in words)]
    cv2.setNumThreads(0)
    # The project itself must come from the copy, so nothing of it may be imported here.
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() not in (ROOT, ROOT / "benchmarks")]
    killed = 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = Path(folder) / "tree"
        tree.mkdir()
        for name in ("data", "detectors", "docs", "radiograph", "tests", "tools"):
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", tree)
        sys.dont_write_bytecode = True
        checked: set[tuple[str, ...]] = set()
        for mutant in chosen:
            if mutant.tests not in checked:
                code = in_copy(tree, mutant.tests)
                assert code == 0, f"{mutant.tests}: exit code {code} without a mutant"
                checked.add(mutant.tests)
            file = tree / mutant.path
            good = file.read_text(encoding="utf-8")
            assert good.count(mutant.old) >= 1, f"{mutant.path} no longer holds {mutant.old!r}"
            file.write_text(good.replace(mutant.old, mutant.new, 1), encoding="utf-8")
            try:
                noticed = in_copy(tree, mutant.tests) != 0
            finally:
                file.write_text(good, encoding="utf-8")
            killed += noticed
            print(
                f"{'killed  ' if noticed else 'SURVIVED'} {mutant.path}: {mutant.old!r} -> {mutant.new!r}", flush=True
            )
    print(f"{killed} of {len(chosen)} killed ({100 * killed / max(len(chosen), 1):.0f} %)")


if __name__ == "__main__":
    main()
