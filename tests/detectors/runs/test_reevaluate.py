"""Where evaluations on other data go."""

import json
import shutil
from pathlib import Path

from data.coco import read_coco, write_coco
from detectors.build import build_model
from detectors.config.files import check_config
from detectors.runs.checkpoint import save_checkpoint
from detectors.runs.reevaluate import evaluate_run

MODEL = {
    "name": "faster_rcnn", "backbone": "resnet18", "width": 0.25, "pyramid": True, "fpn_channels": 8,
    "min_size": None, "crop_size": 7, "head_channels": 8,
    "rpn": {"anchor_sizes": [[8], [16], [32]], "proposals": 4, "proposals_before_nms": 8},
}  # fmt: skip


def test_two_files_of_one_name_do_not_overwrite_each_other(castings: Path, tmp_path: Path) -> None:
    config = check_config({"model": MODEL, "train": {"device": "cpu"}})
    run = tmp_path / "run"
    run.mkdir()
    save_checkpoint(run / "best.ckpt", build_model(config.model, 1), config, [{"id": 1, "name": "defect"}], 1, {})
    dataset = read_coco(castings)
    for name, ids in (("a", [1, 2]), ("b", [3])):
        part = dataset.subset(ids)
        write_coco(tmp_path / name / "test.json", part)
        for image in part.images:
            shutil.copy(castings.parent / image["file_name"], tmp_path / name)
    folders = [evaluate_run(run, tmp_path / name / "test.json")[0] for name in ("a", "b", "a", "b")]
    assert folders == [run / "eval" / name for name in ("test", "test-2", "test", "test-2")]
    assert [json.loads((folder / "metrics.json").read_text())["images"] for folder in folders[:2]] == [2, 1]
    # An evaluation of an older version says whose it is by its ground truth alone.
    for folder in folders[:2]:
        (folder / "evaluated.json").unlink()
    assert evaluate_run(run, tmp_path / "b" / "test.json")[0] == folders[1]
