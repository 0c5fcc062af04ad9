"""Validation and test of detectors by several processes: every one its share, and all of them evaluated."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from data.radiograph import write_radiograph
from detectors.config.files import check_config
from detectors.training import detection
from detectors.training.detection import DetectionTask

IMAGES = 5
BRIGHT = 90  # of 255, and white behind the window


class Finder(nn.Module):
    """Finds the one white place of a radiograph; counts how many it has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        found = []
        for image in images:
            self.seen += 1
            rows, columns = torch.nonzero(image[0] > 0.99, as_tuple=True)
            boxes = torch.zeros(0, 4)
            if len(rows):
                corners = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                boxes = torch.stack(corners).float()[None]
            found.append({"boxes": boxes, "scores": torch.ones(len(boxes)), "labels": torch.ones(len(boxes)).long()})
        return found


@pytest.fixture
def task(tmp_path: Path) -> DetectionTask:
    images, annotations = [], []
    for k in range(1, IMAGES + 1):
        levels = np.full((40, 60), 20.0)
        levels[5 * k : 5 * k + 6, 8 * k : 8 * k + 9] = BRIGHT
        write_radiograph(tmp_path / f"{k}.png", levels / 255, 8)
        images.append({"id": k, "file_name": f"{k}.png", "width": 60, "height": 40})
        annotations.append({"id": k, "image_id": k, "category_id": 1, "bbox": [8 * k, 5 * k, 9, 6]})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "defect"}]}
    (tmp_path / "data.json").write_text(json.dumps(content))
    source = {"json": str(tmp_path / "data.json")}
    window = {"kind": "levels", "low": 0, "high": BRIGHT}
    data = {"train": source, "val": source, "workers": 0, "window": window}
    return DetectionTask(check_config({"name": "five", "model": {"name": "center_net"}, "data": data}))


def process(index: int, count: int) -> Any:
    return SimpleNamespace(
        process_index=index, num_processes=count, is_main_process=index == 0, device=torch.device("cpu")
    )


def test_one_process_sees_all_through_the_window_of_the_run(task: DetectionTask) -> None:
    model = Finder()
    metrics = task.validate(model, process(0, 1))
    assert model.seen == IMAGES
    assert metrics is not None
    assert (metrics["images"], metrics["recall50"], metrics["ap50"]) == (IMAGES, 1.0, 1.0)


@pytest.mark.parametrize("count", [2, 3, 7])
def test_the_radiographs_of_all_processes_are_evaluated(
    task: DetectionTask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, count: int
) -> None:
    gathered: list[dict[str, Any]] = []

    def gather(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
        gathered.extend(results)  # the last process is asked last, and has what all have found
        return list(gathered)

    monkeypatch.setattr(detection, "gather_object", gather)
    model, metrics = Finder(), None
    for index in range(count):
        metrics = task.validate(model, process(index, count))
    assert model.seen == IMAGES  # each radiograph once
    assert metrics is not None
    assert (metrics["images"], metrics["objects"], metrics["recall50"]) == (IMAGES, IMAGES, 1.0)
    assert sorted(result["image_id"] for result in gathered) == list(range(1, IMAGES + 1))
    gathered.clear()
    # The first process writes the results, of the others too.
    for index in reversed(range(count)):
        written = task.finish(model, process(index, count), tmp_path / "run")
    assert written is not None
    assert written["recall50"] == 1.0
    assert len(json.loads((tmp_path / "run/detections.json").read_text())) == IMAGES
