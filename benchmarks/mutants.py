"""Break one line at a time and see whether the tests notice.

Each mutant is a change by hand of one expression in `data/` or `detectors/evaluation/` that a programmer could make by
mistake, and the tests aimed at that module. The tests run in a fork of this process on a copy of the tree; a mutant is
killed where they fail. Every test file has to pass on the unchanged copy first.

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
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")  # children are forked: there must be no threads
os.environ.setdefault("MPLBACKEND", "Agg")

import albumentations  # noqa: F401
import cv2
import pycocotools.mask  # noqa: F401
import pydicom  # noqa: F401
import pytest
import scipy.stats  # noqa: F401
import tifffile  # noqa: F401
import torch  # noqa: F401
import torchvision  # noqa: F401

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 240
EVALUATION = "detectors/evaluation/"


class Mutant(NamedTuple):
    """`old` becomes `new` in a file of the tree; `tests` are the files that should notice."""

    path: str
    old: str
    new: str
    tests: tuple[str, ...]


def _of(path: str, tests: str, *changes: tuple[str, str]) -> list[Mutant]:
    return [Mutant(path, old, new, tuple(f"tests/{name}" for name in tests.split())) for old, new in changes]


MUTANTS = [
    *_of("data/boxes.py", "data/test_coco.py data/test_transforms.py",
         ("min(x + w, width) - left", "min(x + w, width)"),
         (">= MIN_BOX_SIDE).all", ">= MIN_BOX_SIDE).any"),
         ("min(y + h, height)], dtype", "y + h], dtype")),
    *_of("data/coco.py", "data/test_coco.py",
         ("enumerate(sorted(c[\"id\"] for c in self.categories), start=1)",
          "enumerate((c[\"id\"] for c in self.categories), start=1)"),
         ("min(width, x + w + pixels) - left", "x + w + pixels - left"),
         ("if a[\"image_id\"] in wanted", "")),
    *_of("data/rle.py", "data/test_rle.py data/test_masks.py",
         ("if counts.sum() != height * width:", "if counts.sum() > height * width:"),
         ("if (counts < 0).any():", "if False:"),
         ("ends = turns[1::2]", "ends = turns[1::2] - 1"),
         ("if outside.any():", "if False:")),
    *_of("data/masks.py", "data/test_masks.py",
         ("IGNORED if crowd else label, ", "label, "),
         ("sorted(layers, key=lambda layer: layer[:2])", "layers"),
         ("if label >= IGNORED:", "if label > 2 * IGNORED:")),
    *_of("data/files.py", "data/test_radiograph.py data/test_coco.py data/synthesis/test_output_folder.py",
         ("temporary.unlink(missing_ok=True)", "pass"),
         ("temporary.chmod(0o666 & ~mask)", "pass"),
         ("os.replace(temporary, path)", "path.write_bytes(temporary.read_bytes()[:-1])")),
    *_of("data/dicom.py", "data/test_radiograph.py",
         ("(photometric == \"MONOCHROME1\") != (", "(photometric == \"MONOCHROME1\") or ("),
         ("header.integer(\"HighBit\", stated - 1) + 1 - stated", "0"),
         ("beyond = words > mask", "beyond = words > 2 * mask"),
         ("(words & mask) ^ half if signed", "(words & mask) if signed"),
         ("syntax == uid.ExplicitVRBigEndian)", "False)"),
         ("if header.integer(\"NumberOfFrames\", 1) > 1:", "if False:"),
         ("(row / zoom, column / zoom)", "(row, column)")),
    *_of("data/gray_levels.py", "data/test_radiograph.py",
         ("np.subtract(self.values.dtype.type(top), self.values) if self.inverted", "self.values if self.inverted"),
         ("if highest > top:", "if False:"),
         ("for k in range(1, channels", "for k in range(2, channels")),
    *_of("data/limits.py", "data/test_radiograph.py data/test_masks.py",
         ("if width * height * channels > limit:", "if width * height > 2 * limit:")),
    *_of(EVALUATION + "matching.py", "detectors/evaluation/test_matching.py "
         "detectors/evaluation/test_against_pycocotools.py",
         ("if not crowd[truth]:", "if True:"),
         ("min(iou, 1 - 1e-10)", "iou"),
         ("if of_ground_truth[truth] < 0:", "if True:"),
         ("self.matched_ground_truth >= 0) & ~self.ignored", "self.matched_ground_truth >= 0)"),
         ("(-truth, -iou, crowd, detection)", "(truth, -iou, crowd, detection)"),
         ("(-truth, -iou, crowd, detection)", "(-truth, iou, crowd, detection)"),
         ("np.where(crowd, area, area", "np.where(False, area, area"),
         ("& self.pair_same_class)\n", ")\n"),
         ("one[0] + one[2] / 2, one[1]", "one[0], one[1]"),
         ("(self.ground_truth.crowd, False)", "(self.ground_truth.crowd, True)")),
    *_of(EVALUATION + "curves.py", "detectors/evaluation/test_curves.py "
         "detectors/evaluation/test_against_pycocotools.py",
         ("self.recall[self.false_calls <= false_calls]", "self.recall[self.false_calls < false_calls]"),
         ("side=\"right\")) - 1", "side=\"left\")) - 1"),
         ("return int(self.f1.argmax())", "return int(len(self.f1) - 1)"),
         ("(table.detections.label == label) & ~table.ignored", "(table.detections.label == label)"),
         ("if curve.ap is not None]", "]")),
    *_of(EVALUATION + "intervals.py", "detectors/evaluation/test_curves.py detectors/evaluation/test_pod.py "
         "detectors/evaluation/test_metrics.py",
         ("tail = (1 - confidence) / 2\n    low = float(beta", "tail = 1 - confidence\n    low = float(beta"),
         ("2 * events + 2", "2 * events"),
         ("successes + 1, trials - successes)", "successes, trials - successes)")),
    *_of(EVALUATION + "box_padding.py", "detectors/evaluation/test_box_padding.py",
         (".mean(axis=1) / 2", ".mean(axis=1)"),
         ("[:boxes]", ""),
         ("criterion=\"center\"", "")),
]  # fmt: skip


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
            code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests]))
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
        for name in ("data", "detectors", "radiograph", "tests"):
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", "weights"))
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
