"""The learning curve's parts and bookkeeping, with a stand-in for training."""

from pathlib import Path

import numpy as np
import pytest

from data.coco import CocoDataset, read_coco, write_coco
from data.errors import InputError
from data.radiograph import write_radiograph
from detectors.config.experiment import ExperimentConfig, SourceConfig
from detectors.config.files import read_config, write_config
from detectors.experiments.learning_curve import fraction_of, learning_curve


@pytest.fixture
def config(tmp_path: Path) -> ExperimentConfig:
    """Twenty radiographs, the even ones clean; they are never opened."""
    images = [{"id": k, "file_name": f"{k}.png", "width": 64, "height": 64} for k in range(1, 21)]
    annotations = [
        {"id": k, "image_id": k, "category_id": 1, "bbox": [5, 5, 9, 9], "area": 81, "iscrowd": 0}
        for k in range(1, 21, 2)
    ]
    path = tmp_path / "train.json"
    write_coco(path, CocoDataset(images, annotations, [{"id": 1, "name": "pore"}]))
    file = tmp_path / "small.yaml"
    file.write_text(
        f"name: small\nmodel: {{name: faster_rcnn}}\ndata: {{train: {{json: {path}}}, test: {{json: {path}}}}}\n"
    )
    return read_config(str(file), [])


def test_parts_are_nested_and_every_run_takes_the_same_steps(config: ExperimentConfig, tmp_path: Path) -> None:
    seen = []

    def train(part: ExperimentConfig) -> tuple[Path, dict]:
        (source,) = part.data.train
        dataset = read_coco(source.json_file)
        seen.append((part.name, {image["id"] for image in dataset.images}, len(dataset.annotations), part))
        return tmp_path / part.name, {"ap50": len(dataset.images) / 40}

    out = tmp_path / "curve"
    points = learning_curve(config, [1.0, 0.05, 0.5], out, train)
    assert [name for name, *_ in seen] == ["small-0.05", "small-0.5", "small-1"]
    ids = [images for _, images, *_ in seen]
    assert [len(images) for images in ids] == [1, 10, 20]
    assert ids[0] < ids[1] < ids[2]
    assert seen[0][2] == 1  # even a single radiograph shows a defect
    assert {part.train.samples_per_epoch for *_, part in seen} == {20}
    assert Path(seen[0][3].data.train[0].images) == tmp_path
    assert read_config(_written(seen[0][3], tmp_path), []) == seen[0][3]
    assert [point["ap50"] for point in points] == [1 / 40, 0.25, 0.5]
    assert (out / "learning_curve.png").stat().st_size > 0
    # A second call trains what is missing alone.
    points = learning_curve(config, [0.5, 0.25], out, train)
    assert [name for name, *_ in seen[3:]] == ["small-0.25"]
    assert [point["fraction"] for point in points] == [0.05, 0.25, 0.5, 1.0]


def test_simulated_boxes_keep_their_margin_and_defect_free_folders_their_part(config, tmp_path: Path) -> None:
    for k in range(4):
        write_radiograph(tmp_path / "defect_free" / f"{k}.png", np.full((20, 30), 0.4), 8)
    simulated = SourceConfig(images=str(tmp_path / "defect_free"), box_padding=2, simulate={})
    drawn = config.data.train[0].model_copy(update={"box_padding": 3.0})
    data = config.data.model_copy(update={"train": [drawn, simulated]})
    part, images, _ = fraction_of(config.model_copy(update={"data": data}), 0.5, tmp_path / "parts", 8)
    by_hand, defect_free = part.data.train
    assert images == 12
    assert (by_hand.box_padding, read_coco(by_hand.json_file).annotations[0]["bbox"]) == (0, [2, 2, 15, 15])
    assert (defect_free.box_padding, defect_free.simulate) == (2, simulated.simulate)
    dataset = read_coco(defect_free.json_file)
    assert ([c["name"] for c in dataset.categories], len(dataset.images)) == (["pore"], 2)


def _written(config: ExperimentConfig, folder: Path) -> str:
    write_config(folder / "part.yaml", config)
    return str(folder / "part.yaml")


def test_refusals(config: ExperimentConfig, tmp_path: Path) -> None:
    def train(_: ExperimentConfig) -> tuple[Path, dict]:
        return tmp_path, {"ap50": None}

    with pytest.raises(InputError, match="fraction 0"):
        learning_curve(config, [0.0], tmp_path / "curve", train)
    learning_curve(config, [1.0], tmp_path / "curve", train)
    other = config.model_copy(update={"seed": 5})
    with pytest.raises(InputError, match="another configuration"):
        learning_curve(other, [0.5], tmp_path / "curve", train)
    blind = config.model_copy(update={"data": config.data.model_copy(update={"test": None})})
    with pytest.raises(InputError, match=r"data\.test"):
        learning_curve(blind, [1.0], tmp_path / "other", train)
