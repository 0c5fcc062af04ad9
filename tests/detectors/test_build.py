"""From a model section to a model: bounds of hostile values, names of before, weights of a run."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from data.errors import InputError
from detectors import build
from detectors.backbones.weights import read_checkpoint
from detectors.boxes.faster_rcnn import FasterRCNNConfig
from detectors.boxes.rfcn import RFCNConfig
from detectors.boxes.ssd_config import SSDConfig
from detectors.build import MODELS, build_model
from detectors.config.files import check_config, read_config
from detectors.gan.model import DCGANConfig
from detectors.maps.regions import BoxExtractionConfig
from detectors.patches.xnet import XnetConfig, XnetV2Config
from detectors.schema import ModelSection
from detectors.segmentation.weld_fcn import WeldFCNConfig

# As configurations and checkpoints of before wrote them, and the same under the present names.
FORMER = [
    (
        FasterRCNNConfig,
        {"roi_batch": 8, "roi_positive": 0.5, "nms": 0.2, "detections": 7, "input": "contrast",
         "rpn": {"nms": 0.6, "batch": 16}},
        {"roi_batch_size": 8, "roi_positive_fraction": 0.5, "nms_iou": 0.2, "detections_per_image": 7,
         "input": "local_contrast", "rpn": {"nms_iou": 0.6, "batch_size": 16}},
    ),
    (RFCNConfig, {"input": "repeat", "detections": 9}, {"input": "rgb_repeat", "detections_per_image": 9}),
    (
        SSDConfig,
        {"further": [64] * 5, "head_layers": 1, "negatives": 2.0, "negatives_floor": 5, "candidates": 50, "nms": 0.3,
         "detections": 9},
        {"extra_channels": [64] * 5, "head_convs": 1, "neg_pos_ratio": 2.0, "min_negatives": 5, "topk_candidates": 50,
         "nms_iou": 0.3, "detections_per_image": 9},
    ),
    (
        WeldFCNConfig,
        {"window": 128, "overlap": 32, "batch": 2, "whole": 9, "input": "contrast", "regions": {"summit": 0.3}},
        {"tile_size": 128, "tile_overlap": 32, "tile_batch": 2, "max_full_image_pixels": 9, "input": "local_contrast",
         "regions": {"prominence": 0.3}},
    ),
    (
        XnetV2Config,
        {"input": "contrast", "regions": {"grow": -4, "surround": 0.5, "cell": 2, "height": 0.6, "nms": 0.4}},
        {"input": "local_contrast", "regions": {"box_padding": -4, "background_weight": 0.5, "downsample": 2,
                                                "rel_height": 0.6, "nms_iou": 0.4}},
    ),
    (XnetV2Config, {"input": "grey"}, {"input": "gray"}),
    (XnetConfig, {"row": 3}, {"variant": 3}),
    (DCGANConfig, {"real_target": 0.8}, {"real_label": 0.8}),
]  # fmt: skip


@pytest.mark.parametrize(("section", "former", "present"), FORMER)
def test_names_of_before_are_read(section: type[ModelSection], former: dict, present: dict) -> None:
    read = section.model_validate(former)
    assert read == section.model_validate(present)
    assert not set(former) - set(present) & set(read.model_dump())
    name = read.name
    assert check_config({"model": {"name": name, **former}}).model == read


def test_a_former_name_in_an_override_meets_the_present_one_in_the_file() -> None:
    config = read_config("faster_rcnn_r18_fpn", ["model.nms=0.25", "model.rpn.batch=32", "model.input=repeat"]).model
    assert (config.nms_iou, config.rpn.batch_size, config.input) == (0.25, 32, "rgb_repeat")


@pytest.mark.parametrize("section", [config for config, _ in MODELS.values()])
def test_every_field_is_described(section: type[ModelSection]) -> None:
    assert [name for name, field in section.model_fields.items() if not field.description] == []


HOSTILE = [
    (FasterRCNNConfig, {"rpn": {"anchor_sizes": [[0.0, 8]]}}),
    (FasterRCNNConfig, {"rpn": {"anchor_sizes": [[-8.0]]}}),
    (FasterRCNNConfig, {"rpn": {"anchor_sizes": [[float("inf")]]}}),
    (FasterRCNNConfig, {"rpn": {"anchor_sizes": [[8.0] * 1000]}}),
    (FasterRCNNConfig, {"rpn": {"anchor_sizes": []}}),
    (FasterRCNNConfig, {"rpn": {"aspect_ratios": []}}),
    (FasterRCNNConfig, {"rpn": {"aspect_ratios": [0.0]}}),
    (FasterRCNNConfig, {"rpn": {"aspect_ratios": [-1.0]}}),
    (FasterRCNNConfig, {"rpn": {"positive_iou": 0.2, "negative_iou": 0.3}}),
    (FasterRCNNConfig, {"fpn_channels": 10**9, "pyramid": True}),
    (FasterRCNNConfig, {"head_channels": 10**12}),
    (FasterRCNNConfig, {"detections_per_image": 10**9}),
    (FasterRCNNConfig, {"loss_weights": {"box": float("nan")}}),
    (FasterRCNNConfig, {"loss_weights": {"box": -1.0}}),
    (FasterRCNNConfig, {"width": 1e-9}),
    (RFCNConfig, {"reduction": 10**9}),
    (RFCNConfig, {"bins": 1000, "crop_size": 1000}),
    (SSDConfig, {"extra_channels": [10**9] * 5}),
    (SSDConfig, {"extra_channels": [0] * 5}),
    (SSDConfig, {"boxes": [{"sizes": [0]}] * 7}),
    (SSDConfig, {"boxes": [{"sizes": [8], "ratios": []}] * 7}),
    (SSDConfig, {"tile": 10**9}),
    (XnetConfig, {"variant": None, "layers": {"p": [10**9 + 1], "d": [1], "f": [2]}}),
    (XnetConfig, {"variant": None, "layers": {"p": [3], "d": [10**9], "f": [2]}}),
    (WeldFCNConfig, {"width": 10**9}),
    (DCGANConfig, {"size": 2**40}),
    (DCGANConfig, {"latent": 10**12}),
    (BoxExtractionConfig, {"dilation": 10**9}),
    (BoxExtractionConfig, {"levels": 10**9}),
]


@pytest.mark.parametrize(("section", "values"), HOSTILE)
def test_sizes_that_cannot_be_are_refused_before_anything_is_built(section: type, values: dict) -> None:
    with pytest.raises(ValidationError):
        section.model_validate(values)


def test_a_model_of_too_many_parameters_is_refused_before_memory_is_taken() -> None:
    """Every field within its bounds, but their product is not: 128 x 128 x 2048 cells to 8192 channels."""
    huge = FasterRCNNConfig(
        backbone="resnet18", pyramid=True, fpn_channels=2048, crop_size=64, head_channels=8192,
        rpn={"anchor_sizes": [[8], [16], [32]]},
    )  # fmt: skip
    with pytest.raises(InputError, match=r"would have 68,\d{3},\d{3},\d{3} parameters"):
        build_model(huge, 1)


def test_checking_the_size_draws_no_random_number(monkeypatch: pytest.MonkeyPatch) -> None:
    section = XnetConfig(variant=None, layers={"p": [3], "d": [2], "f": [2]})
    torch.manual_seed(3)
    checked = build_model(section, 1).state_dict()
    monkeypatch.setattr(build, "_check_size", lambda config, num_classes: None)
    torch.manual_seed(3)
    plain = build_model(section, 1).state_dict()
    assert all(torch.equal(checked[name], plain[name]) for name in plain)


def test_weights_of_a_run_start_all_but_the_layers_of_its_classes(tmp_path: Path) -> None:
    section = SSDConfig(
        backbone="resnet18", width=0.125, extra_channels=[8], boxes=[{"sizes": [16]}, {"sizes": [32]}], head_convs=1
    )
    trained = build_model(section, 1)
    # As a checkpoint of before named them.
    former = {
        name.replace("backbone.extra.", "backbone.further.").replace("heads.head_convs.", "heads.hidden."): value
        for name, value in trained.state_dict().items()
    }
    assert former.keys() != trained.state_dict().keys()
    config = {"model": section.model_dump(mode="json")}
    checkpoint = {"model": former, "config": config, "categories": [{"id": 1, "name": "defect"}],
                  "training": {"model": former, "averaged": {f"module.{k}": v for k, v in former.items()}}}  # fmt: skip
    torch.save(checkpoint, tmp_path / "best.ckpt")
    torch.manual_seed(9)
    again = build_model(section.model_copy(update={"weights": str(tmp_path)}), 1)
    assert all(torch.equal(v, trained.state_dict()[k]) for k, v in again.state_dict().items())
    two = build_model(section.model_copy(update={"weights": str(tmp_path)}), 2)
    anew = {k for k, v in two.state_dict().items() if v.shape != trained.state_dict()[k].shape}
    assert anew
    assert all(k.startswith("heads.classifier.") for k in anew)
    training = read_checkpoint(tmp_path)["training"]
    assert training["model"].keys() == trained.state_dict().keys()
    assert all(name.removeprefix("module.") in training["model"] for name in training["averaged"])
