"""tools/prepare_gdxray.py and tools/check_data.py as a user runs them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data.coco import read_coco
from data.radiograph import write_radiograph

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def run(tool: str, *arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, str(TOOLS / tool), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four castings series of four radiographs of noise, so that none is like another; the first is clean."""
    rng = np.random.default_rng(0)
    for series in ("C0003", "C0004", "C0005", "C0006"):
        folder = tmp_path / "gdxray/Castings" / series
        for number in range(1, 5):
            write_radiograph(folder / f"{series}_{number:04d}.png", rng.random((48, 64)))
        (folder / "ground_truth.txt").write_text("2 10 20 5 15\n3 1 6 2 7\n3 30 40 20 30\n4 50 60 30 40\n")
    return tmp_path / "gdxray"


def test_prepare_then_check(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run("prepare_gdxray.py", root, "--out", out, "--split", "series")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in out.iterdir()) == ["montage.png", "test.json", "train.json", "val.json"]
    parts = [read_coco(out / f"{name}.json") for name in ("train", "val", "test")]
    assert sorted(len(part.images) for part in parts) == [4, 4, 8]
    assert all(len(part.annotations) == len(part.images) for part in parts)  # four boxes on four radiographs
    assert run("check_data.py", *sorted(out.glob("*.json")), "--images", root).returncode == 0


def test_check_lists_issues_and_near_duplicates(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("prepare_gdxray.py", root, "--out", out, "--split", "none").returncode == 0
    (out / "copy.json").write_text((out / "all.json").read_text())
    near_duplicates = run("check_data.py", out / "all.json", out / "copy.json", "--images", root)
    assert (near_duplicates.returncode, "16 same image (error)" in near_duplicates.stdout) == (1, True)
    content = json.loads((out / "all.json").read_text())
    content["annotations"][0]["bbox"][2] = 0
    content["annotations"][1]["image_id"] = 99
    (out / "all.json").write_text(json.dumps(content))
    issues = run("check_data.py", out / "all.json", "--images", root)
    assert issues.returncode == 1
    assert "2 issues: 1 no area (error), 1 dangling id (error)" in issues.stdout


def test_unlabeled_welds_lie_apart(tmp_path: Path) -> None:
    for series in ("W0001", "W0002"):
        write_radiograph(tmp_path / f"Welds/{series}/{series}_0001.png", np.eye(40))
    out = tmp_path / "out"
    command = ("prepare_gdxray.py", tmp_path, "--group", "welds", "--split", "none", "--unlabeled", "--out", out)
    absent = run(*command)
    assert (absent.returncode, out.exists()) == (2, False)
    write_radiograph(tmp_path / "Welds/W0003/W0003_0001.png", np.eye(40))
    assert run(*command).returncode == 0
    assert [image["series"] for image in read_coco(out / "all.json").images] == ["W0001"]
    assert [image["series"] for image in read_coco(out / "unlabeled.json").images] == ["W0003"]


@pytest.mark.parametrize("arguments", [
    ("prepare_gdxray.py", "nowhere", "--out", "out"), ("check_data.py", "nowhere.json", "--images", "."),
    ("check_data.py", "nowhere.json", "--images", "nofolder"),
])  # fmt: skip
def test_bad_input_ends_in_one_line(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: no")
    assert done.stderr.count("\n") == 1
