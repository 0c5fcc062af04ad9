"""tools/compare_defect_mixes.py as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data.patch_files import PatchSet, write_patches

TOOL = Path(__file__).resolve().parents[2] / "tools" / "compare_defect_mixes.py"


def run(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, str(TOOL), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.slow
def test_coco_files_and_gan_patches_give_a_table(castings: Path, tmp_path: Path) -> None:
    count = 40
    pixels = np.random.default_rng(0).integers(60, 200, (count, 32, 32)).astype(np.uint8)
    names, places = np.array([f"gan-{k}" for k in range(count)]), np.full((count, 3), np.nan, np.float32)
    write_patches(
        tmp_path / "gan.npz", PatchSet(pixels, np.ones(count, np.int64), names, places, np.full(count, "gan"))
    )
    layers = "model.layers={p: [3, 3], d: [4, 8], f: [2]}"
    arguments = (
        castings, "--test", castings, "--cfg", "xnet.yaml", "--set", layers, "--set", "model.variant=null",
        "--set", "data.workers=0", "--gan", tmp_path / "gan.npz", "--mixes", "50/50", "--patches", 64, "--epochs", 1,
        "--out", tmp_path / "exgy",
    )  # fmt: skip
    done = run(*arguments, "--seed", 3)
    assert done.returncode == 0, done.stderr
    assert "| E050G050 | 50 % | 50 % |" in done.stdout
    (row,) = json.loads((tmp_path / "exgy" / "metrics.json").read_text())["models"]
    assert (row["images"], row["ellipsoidal"], row["gan"]) == (6, 50, 50)
    assert row["ap50"] is not None
    assert (tmp_path / "exgy" / "precision_recall_50.png").is_file()
    again = run(*arguments, "--seed", 4)
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert "is of another experiment; choose another --out" in again.stderr
