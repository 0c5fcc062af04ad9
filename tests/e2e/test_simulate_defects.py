"""tools/simulate_defects.py as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask

from data.coco import read_coco
from data.radiograph import read_radiograph, write_radiograph

TOOL = Path(__file__).resolve().parents[2] / "tools" / "simulate_defects.py"


def run(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, str(TOOL), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_radiographs_keep_their_depth_and_get_defects(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = {1: ("a.png", 8), 2: ("deep/b.png", 16), 3: ("c.tif", 12)}
    for name, bits in names.values():
        write_radiograph(tmp_path / "in" / name, 0.4 + rng.normal(0, 0.004, (150, 180)), bits)
    images = [{"id": k, "file_name": name, "width": 180, "height": 150} for k, (name, _) in names.items()]
    real = {"id": 7, "image_id": 2, "category_id": 3, "bbox": [20, 20, 30, 20], "area": 600, "iscrowd": 0}
    content = {"images": images, "annotations": [real], "categories": [{"id": 3, "name": "defect"}]}
    (tmp_path / "in.json").write_text(json.dumps(content))
    arguments = (tmp_path / "in.json", "--images", tmp_path / "in", "--per-image", 3)
    done = run(*arguments, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "before_after.png").is_file()
    written = read_coco(tmp_path / "out" / "annotations.json")
    assert [image["file_name"] for image in written.images] == [name for name, _ in names.values()]
    assert [len(written.annotations_of(k)) for k in names] == [3, 4, 3]  # the real one stays
    for k, (name, bits) in names.items():
        before, after = (read_radiograph(tmp_path / folder / name) for folder in ("in", "out"))
        assert after.bit_depth == bits
        for annotation in written.annotations_of(k):
            if annotation.get("simulated"):
                mask = coco_mask.decode(annotation["segmentation"]) > 0
                assert annotation["bbox"] == coco_mask.toBbox(annotation["segmentation"]).tolist()
                assert (after.pixels - before.pixels)[mask].mean() > 0.002
    again = run(*arguments, "--out", tmp_path / "out")
    assert (again.returncode, again.stdout.splitlines()) == (0, done.stdout.splitlines()[-2:])  # whole already
    other = run(*arguments, "--seed", 1, "--out", tmp_path / "out")
    assert (other.returncode, "other arguments" in other.stderr, other.stderr.count("\n")) == (2, True, 1)


def test_a_folder_of_defect_free_radiographs_is_enough(tmp_path: Path) -> None:
    write_radiograph(tmp_path / "in" / "a.png", np.full((150, 180), 0.4, np.float32), 8)
    done = run(tmp_path / "in", "--per-image", 2, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    written = read_coco(tmp_path / "out" / "annotations.json")
    assert ([c["name"] for c in written.categories], len(written.annotations_of(1))) == (["defect"], 2)
