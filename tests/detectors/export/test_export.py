"""Exported models answer as the model does in PyTorch, at any size, and say what they cannot do."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from exported_models import TINY_CENTER_NET, export_model, save_run
from torch import nn

from data.errors import InputError
from data.image_quality.limits import LIMITS_FILE, QualityLimits, read_limits, write_limits
from data.synthesis.phantom import make_phantom
from detectors.boxes import working_scale as reference
from detectors.boxes.center_net import CenterNetConfig
from detectors.boxes.faster_rcnn import FasterRCNNConfig
from detectors.boxes.rfcn import RFCNConfig
from detectors.boxes.ssd import SSDConfig
from detectors.decisions.backbone_features import watched
from detectors.export import layers, winograd
from detectors.export.graph import NOT_EXPORTED
from detectors.export.parity import compare_answers
from detectors.export.write import LEARNED, export_run
from detectors.gan.model import DCGANConfig
from detectors.patches.xnet import XnetConfig, XnetV2Config
from detectors.runs.checkpoint import load_model, save_checkpoint
from detectors.runtime.folder import read_exported
from detectors.runtime.predictor import ExportedPredictor
from detectors.runtime.working_scale import working_scale
from detectors.schema import ModelSection
from detectors.segmentation.weld_fcn import WeldFCNConfig

ANCHORS = {"anchor_sizes": [[12, 24, 48]], "proposals": 40, "proposals_before_nms": 100}
SECTIONS: dict[str, ModelSection] = {
    "center_net": CenterNetConfig(**TINY_CENTER_NET),
    "center_net_flip": CenterNetConfig(**TINY_CENTER_NET, flip_test="both", input_encoding="line_blind"),
    "center_net_gray": CenterNetConfig(**TINY_CENTER_NET, input_encoding="gray", norm="group", detections_per_image=7),
    "faster_rcnn_fpn": FasterRCNNConfig(
        backbone="resnet18", width=0.125, pyramid=True, fpn_channels=8, min_size=None, crop_size=3, head_channels=16,
        input="local_contrast", rpn=ANCHORS | {"anchor_sizes": [[8, 16], [24, 32], [48, 64]]},
    ),
    "faster_rcnn_thin": FasterRCNNConfig(
        backbone="resnet18", width=0.125, stem="thin", norm="batch", pyramid=True, fpn_channels=8, min_size=None,
        crop_size=3, head_channels=16, rpn=ANCHORS | {"anchor_sizes": [[8, 16], [24, 32], [48, 64]]},
    ),
    "faster_rcnn_c4": FasterRCNNConfig(
        backbone="resnet18", width=0.125, min_size=128, max_size=256, crop_size=4, rpn=ANCHORS,
    ),
    "rfcn": RFCNConfig(
        backbone="resnet18", width=0.125, stride=8, stage=4, reduction=16, min_size=None, crop_size=6, rpn=ANCHORS,
    ),
    "rfcn_conv5": RFCNConfig(
        backbone="resnet18", width=0.125, norm="batch", stride=8, reduction=16, min_size=None, crop_size=6, rpn=ANCHORS,
    ),
    "ssd_tiles": SSDConfig(
        backbone="vgg16", width=0.0625, input="local_contrast", extra_channels=[8], tile=64, tile_stride=32,
        boxes=[{"sizes": [20]}, {"sizes": [40]}, {"sizes": [80]}], score_threshold=0.04, topk_candidates=50,
    ),
    "ssd_whole": SSDConfig(
        backbone="resnet18", width=0.125, pyramid=True, fpn_channels=8, extra_channels=[8], head_convs=1, tile=None,
        boxes=[{"sizes": [10]}, {"sizes": [20]}, {"sizes": [40]}, {"sizes": [80]}], encoding="ssd",
    ),
    "xnet_v2": XnetV2Config(regions={"min_area": 4, "lowest": 0.01, "prominence": 0.0, "levels": 15}),
    "xnet": XnetConfig(
        variant=None, layers={"p": [3, 3], "d": [4, 6], "f": [8, 2]}, input="local_contrast",
        regions={"min_area": 4, "lowest": 0.01, "prominence": 0.0, "levels": 15},
    ),
    "weld_fcn": WeldFCNConfig(
        width=4, depth=1, tile_size=64, tile_overlap=16, max_full_image_pixels=9000,
        regions={"min_area": 4, "lowest": 0.001, "prominence": 0.0},
    ),
}  # fmt: skip
MAPS = ("xnet_v2", "xnet", "weld_fcn")
SIZES = [(96, 128), (101, 67), (30, 333)]
"""Heights and widths; none of the last two is a multiple of a stride."""


def phantom(height: int, width: int) -> np.ndarray:
    pixels = make_phantom("castings", 3, 1, size=(384, 286)).pixels
    return np.ascontiguousarray(np.tile(pixels, (1, 2))[:height, :width])


def noisy(height: int, width: int) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 0.012, (height, width))
    return (0.3 + 0.4 * phantom(height, width) + noise).clip(0, 1).astype(np.float32)


QUICK = ("center_net", "faster_rcnn_fpn", "rfcn_conv5", "xnet")


def check_parity(model: nn.Module, exported: ExportedPredictor, least: int) -> None:
    """Assert that an exported model answers as its model does, with more than `least` detections."""
    images = [phantom(*size) for size in SIZES] + [noisy(97, 150)]
    with torch.no_grad():
        eager = [{k: v.numpy() for k, v in model([torch.from_numpy(p)[None]])[0].items()} for p in images]
    parity = compare_answers((e, exported(p)) for e, p in zip(eager, images, strict=True))
    assert parity.detections > least
    assert parity.share > 0.98


def check_features(model: nn.Module, exported: ExportedPredictor) -> None:
    """Assert that an exported model tells what the hook on its model's backbone sees."""
    for pixels in (phantom(96, 128), phantom(101, 67), noisy(97, 150)):
        with torch.no_grad(), watched(model) as seen:
            model([torch.from_numpy(pixels)[None]])
        features = exported.in_pixels(pixels).features
        assert features is not None
        assert features == pytest.approx(np.mean(seen, axis=0), abs=2e-4, rel=2e-3)


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in SECTIONS])
def test_exported_models_answer_alike_at_any_size(name: str, tmp_path: Path) -> None:
    model = export_model(
        tmp_path, SECTIONS[name], classes=1 if name in MAPS else 2, base=name if name in MAPS else "center_net"
    )
    exported = ExportedPredictor(tmp_path / "exported")
    check_parity(model, exported, least=3 if name in MAPS else 20)
    if name not in MAPS:
        check_features(model, exported)
    card = json.loads((tmp_path / "exported" / "model_card.json").read_text())
    assert card["parity"]["share"] > 0.98
    assert card["multiply_adds"]["count"] > 0


@pytest.mark.parametrize("name", ["rfcn", pytest.param("faster_rcnn_fpn", marks=pytest.mark.slow)])
def test_without_any_proposal_nothing_is_found(name: str, tmp_path: Path) -> None:
    model = save_run(tmp_path / "run", SECTIONS[name])
    with torch.no_grad():
        codes = model.rpn.head.bbox_pred
        codes.weight.zero_()
        codes.bias.view(-1, 4)[:] = torch.tensor([0.0, 0.0, -60.0, -60.0])  # far smaller than any box may be
    _, config, categories = load_model(tmp_path / "run")
    save_checkpoint(tmp_path / "run" / "best.ckpt", model, config, categories, 1, {})
    export_run(tmp_path / "run", tmp_path / "exported")
    for size in SIZES:
        assert ExportedPredictor(tmp_path / "exported")(phantom(*size))["boxes"].shape == (0, 4)


@pytest.mark.parametrize(
    "name", ["rfcn", *(pytest.param(n, marks=pytest.mark.slow) for n in ("faster_rcnn_c4", "ssd_tiles"))]
)
def test_models_whose_every_layer_is_filtered_by_winograd_answer_alike(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(winograd, "LEAST_CHANNELS", 0)
    monkeypatch.setattr(winograd, "LEAST_IN_BLOCKS", 0)
    model = export_model(tmp_path, SECTIONS[name], classes=2)
    check_parity(model, ExportedPredictor(tmp_path / "exported"), least=20)
    export_run(tmp_path / "run", tmp_path / "plain", winograd=False)
    filtered, plain = (json.loads((tmp_path / n / "model_card.json").read_text()) for n in ("exported", "plain"))
    assert filtered["winograd_layers"] > 3
    assert plain["winograd_layers"] == 0
    assert filtered["model"]["parameters"] == plain["model"]["parameters"]


@pytest.mark.parametrize("name", ["xnet", "xnet_v2"])
def test_patch_classifiers_are_not_filtered(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "LEAST_CHANNELS", 0)
    monkeypatch.setattr(winograd, "LEAST_IN_BLOCKS", 0)
    model = export_model(tmp_path, SECTIONS[name], base=name)
    check_parity(model, ExportedPredictor(tmp_path / "exported"), least=3)


@pytest.mark.parametrize(
    "name",
    ["center_net_flip", *(pytest.param(n, marks=pytest.mark.slow) for n in ("faster_rcnn_fpn", "rfcn_conv5", "xnet"))],
)
def test_openvino_answers_alike(name: str, tmp_path: Path) -> None:
    classes, base = (1, name) if name in MAPS else (2, "center_net")
    model = save_run(tmp_path / "run", SECTIONS[name], classes, base)
    parity = export_run(tmp_path / "run", tmp_path / "exported", runtime="openvino").parity
    assert parity.share > 0.98
    exported = ExportedPredictor(tmp_path / "exported")
    assert exported.engine == "openvino"
    check_parity(model, exported, least=3 if name in MAPS else 20)


def test_a_runtime_that_is_not_installed_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(InputError, match=r"^openvino is not installed: python -m pip install openvino, or choose"):
        export_run(tmp_path / "run", tmp_path / "exported", runtime="openvino")


def test_the_working_scale_is_that_of_the_model() -> None:
    rng = np.random.default_rng(0)
    scales = set()
    for deviation in (0, 0.005, 0.01, 0.012, 0.02, 0.1):
        image = (0.2 + 0.5 * phantom(100, 141) + rng.normal(0, deviation, (100, 141))).clip(0, 1).astype(np.float32)
        image[:20, :30] = 1
        scale = working_scale(image, 1.5, 0.6)
        assert scale == round(20 * reference.working_scale(torch.from_numpy(image)[None], 1.5, 0.6))
        rescaled = layers.rescaled(torch.from_numpy(image)[None, None], torch.tensor(scale))[0]
        assert torch.allclose(rescaled, reference.rescaled(torch.from_numpy(image)[None], scale / 20), atol=1e-6)
        scales.add(scale)
    assert {12, 20} < scales
    assert working_scale(np.full((9, 9), 0.5, np.float32), 1.5, 0.6) == 20  # too few pixels to say


def test_more_detections_can_be_asked_for(tmp_path: Path) -> None:
    export_model(tmp_path, SECTIONS["center_net_gray"])
    image = phantom(200, 200)
    few, many = (ExportedPredictor(tmp_path / "exported", max_detections=n)(image) for n in (None, 40))
    assert len(few["scores"]) <= 7 < len(many["scores"]) <= 40
    assert (np.diff(many["scores"]) <= 0).all()


def test_what_cannot_be_exported_says_why(tmp_path: Path) -> None:
    save_run(tmp_path / "run", DCGANConfig(), base="dcgan")
    with pytest.raises(InputError, match=f"'dcgan' cannot be exported: {NOT_EXPORTED['dcgan']}"):
        export_run(tmp_path / "run", tmp_path / "exported")
    assert not (tmp_path / "exported").exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    save_run(tmp_path / "run", SECTIONS["center_net"])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="holds something else"):
        export_run(tmp_path / "run", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_what_was_learned_of_a_run_goes_with_its_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the run or of its best checkpoint; and nothing stays of what an earlier export to the folder had."""
    run, out = tmp_path / "run", tmp_path / "exported"
    save_run(run, CenterNetConfig(**TINY_CENTER_NET))
    write_limits(run, QualityLimits(None, 0.002, 1.0, 3))
    for name in LEARNED:
        (run / name).write_text(f"what stands in {name}")
    for source in (run, run / "best.ckpt"):
        export_run(source, out)
        assert [(out / name).read_text() for name in LEARNED] == [f"what stands in {name}" for name in LEARNED]
        assert read_limits(out) == QualityLimits(None, 0.002, 1.0, 3)
        shutil.rmtree(out)
    shutil.copyfile(run / "best.ckpt", run / "last.ckpt")
    export_run(run / "last.ckpt", out)
    assert not set(LEARNED) & {path.name for path in out.iterdir()}
    export_run(run, out)
    capsys.readouterr()
    for name in (*LEARNED, LIMITS_FILE):
        (run / name).unlink()
    export_run(run, out)
    assert f"removed {LEARNED[0]} and {LEARNED[1]}" in capsys.readouterr().out
    assert not {*LEARNED, LIMITS_FILE} & {path.name for path in out.iterdir()}
    read_exported(out)


def test_parity_counts_what_has_a_partner() -> None:
    one = {"boxes": np.array([[0, 0, 10, 10], [20, 0, 30, 10.0]]), "scores": np.array([0.9, 0.5]), "labels": [1, 1]}
    one["labels"] = np.array(one["labels"])
    moved = one | {"boxes": one["boxes"] + [[0.01, 0, 0.01, 0], [1, 0, 1, 0]], "scores": np.array([0.9005, 0.5])}
    parity = compare_answers([(one, moved)])
    assert (parity.detections, parity.matched) == (4, 2)  # the second box is a pixel off: IoU 0.82
    assert parity.score_difference == pytest.approx(0.0005)
    other_label = compare_answers([(one, one | {"labels": np.array([1, 2])})])
    assert other_label.matched == 2
