"""Evaluating heat maps by masks: a stand-in model whose map is the radiograph turned into a negative."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from data.coco import read_coco, write_coco
from data.masks import read_mask_folder
from data.radiograph import read_radiograph, write_radiograph
from data.segmentation import stack_segmentation
from detectors.config.experiment import ExperimentConfig, SourceConfig
from detectors.config.source import source_at
from detectors.config.sources import segmentation_dataset
from detectors.interface import Detections
from detectors.maps.heat_map import HeatMap
from detectors.runs.evaluate import MapEvaluator, evaluate_source
from detectors.schema import ModelSection

CATEGORIES = [{"id": 1, "name": "defect"}]
CPU = torch.device("cpu")


class NegativeSection(ModelSection):
    task = "segmentation"
    name: str = "negative"


class Negative(nn.Module):
    """Scores 1 - gray value; one box around all that scores above 0.5."""

    def heat_map(self, image: torch.Tensor) -> HeatMap:
        return HeatMap(1 - image[0], stride=1, offset=0.5)

    def detections(self, image: torch.Tensor, heat_map: HeatMap) -> Detections:
        rows, columns = torch.nonzero(heat_map.values > 0.5, as_tuple=True)
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] if len(rows) else None
        count = 0 if box is None else 1
        boxes = torch.tensor([box] if box else [], dtype=torch.float32).reshape(-1, 4)
        return {"boxes": boxes, "scores": torch.full((count,), 0.9), "labels": torch.ones(count, dtype=torch.int64)}

    def forward(self, images: list[torch.Tensor]) -> list[Detections]:
        return [self.detections(image, self.heat_map(image)) for image in images]


@pytest.fixture
def welds(tmp_path: Path) -> Path:
    """A weld with a dark square of which the annotator drew the left two thirds, and a clean one."""
    pixels, mask = np.full((40, 60), 0.8), np.zeros((40, 60))
    pixels[10:16, 20:29] = 0.2
    mask[10:16, 20:26] = 1
    write_radiograph(tmp_path / "welds/a.png", pixels)
    write_radiograph(tmp_path / "welds/a_gt.png", mask)
    write_radiograph(tmp_path / "welds/b.png", np.full((40, 60), 0.8))
    write_radiograph(tmp_path / "welds/b_gt.png", np.zeros((40, 60)))
    return tmp_path / "welds"


def config() -> ExperimentConfig:
    return ExperimentConfig(name="negative", model=NegativeSection(name="negative"))


def test_maps_are_evaluated_by_pixels_and_boxes_in_one_go(welds: Path, tmp_path: Path) -> None:
    source = SourceConfig(masks=str(welds), images=str(welds))
    metrics = evaluate_source(Negative(), source, CATEGORIES, config(), CPU, tmp_path / "run")
    assert metrics == json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["pixel_precision"] == pytest.approx(36 / 54)
    assert metrics["pixel_recall"] == 1
    assert metrics["pixel_f1"] == pytest.approx(72 / 90)
    assert metrics["pixel_iou"] == pytest.approx(36 / 54)
    assert (metrics["defect_recall"], metrics["false_regions_per_image"]) == (1, 0)
    # The box holds 54 pixels, the defect's 36: IoU 2/3.
    assert (metrics["ap50"], metrics["ap75"], metrics["images"], metrics["objects"]) == (1, 0, 2, 1)
    assert metrics["accuracy"] is None
    for name in ("pixel_curves", "worst_predictions", "pr_curve", "examples"):
        assert (tmp_path / f"run/plots/{name}.png").stat().st_size > 2000


def test_the_threshold_is_the_one_given(welds: Path) -> None:
    dataset = read_mask_folder(welds, welds)
    maps = MapEvaluator(dataset, threshold=0.9)
    for image in dataset.images:
        pixels = read_radiograph(welds / image["file_name"]).pixels
        maps.add(image, Negative().heat_map(torch.from_numpy(pixels)[None]), pixels)
    metrics = maps.metrics()
    assert (metrics["pixel_threshold"], metrics["pixel_f1"], metrics["pixel_recall"]) == (0.9, 0, 0)
    assert metrics["pixel_f1_max"] == pytest.approx(72 / 90)


def test_data_of_boxes_alone_is_evaluated_by_boxes(welds: Path, tmp_path: Path) -> None:
    coco = read_mask_folder(welds, welds)
    for annotation in coco.annotations:
        del annotation["segmentation"]
    write_coco(welds / "boxes.json", coco)
    source = SourceConfig(json=str(welds / "boxes.json"))
    metrics = evaluate_source(Negative(), source, CATEGORIES, config(), CPU, tmp_path / "run")
    assert (metrics["ap50"], metrics["pixel_f1"], metrics["pixel_threshold"]) == (1, None, None)
    assert len(read_coco(welds / "boxes.json").annotations) == 1


def test_training_samples_come_from_folders_of_masks_in_shares(welds: Path) -> None:
    folder = {"masks": str(welds), "images": str(welds)}
    augmentation = {"crop": {"size": 32, "defect_crop_fraction": 0.5}}
    both = {"train": [folder, {**folder, "keep_negatives": False, "weight": 3}], "augmentation": augmentation}
    settings = {"model": NegativeSection(name="negative"), "train": {"samples_per_epoch": 50}}
    samples, categories = segmentation_dataset(ExperimentConfig(data=both | {"regions": 6}, **settings))
    assert categories == CATEGORIES
    assert len(samples) == 50
    images, masks, ids = stack_segmentation([samples[k] for k in range(50)])
    assert (images.shape, masks.shape) == ((50, 1, 32, 32), (50, 32, 32))
    assert 1 <= ids.count(2) <= 15


def test_what_the_evaluation_command_is_given_is_told_apart(welds: Path) -> None:
    assert source_at(welds, welds).masks == str(welds)
    assert source_at(welds, None).patches == str(welds)
    assert source_at(Path("patches.npz"), None).patches == "patches.npz"
    assert source_at(Path("a.json"), welds).images == str(welds)
