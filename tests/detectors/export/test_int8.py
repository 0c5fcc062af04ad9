"""8-bit integers: which layers, what it costs, and when it is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from exported_models import TINY_CENTER_NET, save_run
from onnx import TensorProto, helper

from data.coco import CocoDataset, write_coco
from data.errors import InputError
from data.gray_window import GrayWindow
from data.radiograph import write_radiograph
from data.synthesis.phantom import make_phantom
from detectors.boxes.center_net import CenterNetConfig
from detectors.config.files import read_config
from detectors.export import quantize
from detectors.export.accuracy import SEED, Accuracy, Labeled, labeled_file, labeled_phantoms
from detectors.export.layer_order import edge_layers, late_layers
from detectors.export.quantize import Int8Wish, calibration_radiographs
from detectors.export.write import export_run
from detectors.runtime.folder import GRAPH, read_exported
from detectors.runtime.predictor import ExportedPredictor


@pytest.fixture
def few_phantoms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calibrate on two phantoms beside the named radiographs."""
    monkeypatch.setattr(quantize, "PHANTOMS", 2)


def castings(folder: Path, count: int) -> Path:
    """Write phantoms and their COCO file."""
    images, annotations = [], []
    for number in range(1, count + 1):
        phantom = make_phantom("castings", 5, number, style="easy", size=(128, 96))
        write_radiograph(folder / f"{number}.png", phantom.pixels, 8)
        images.append({"id": number, "file_name": f"{number}.png", "width": 128, "height": 96})
        for x1, y1, x2, y2 in phantom.boxes.tolist():
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, "category_id": 7, "iscrowd": 0,
                 "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}
            )  # fmt: skip
    write_coco(folder / "castings.json", CocoDataset(images, annotations, [{"id": 7, "name": "pore"}]))
    return folder / "castings.json"


@pytest.mark.slow
@pytest.mark.usefixtures("few_phantoms")
def test_int8_answers_like_float32_and_says_what_it_cost(tmp_path: Path) -> None:
    save_run(tmp_path / "run", CenterNetConfig(**TINY_CENTER_NET))
    (tmp_path / "run" / "normal.npz").write_text("features of float32")
    json_file = castings(tmp_path / "data", 3)
    wish = Int8Wish([tmp_path / "data"], json_file)
    export_run(tmp_path / "run", tmp_path / "float")
    assert (tmp_path / "float" / "normal.npz").is_file()
    outcome = export_run(tmp_path / "run", tmp_path / "int8", int8=wish).int8
    assert outcome is not None
    assert not (tmp_path / "int8" / "normal.npz").exists()
    card = json.loads((tmp_path / "int8" / "model_card.json").read_text())
    assert card["precision"] == read_exported(tmp_path / "int8").precision == "int8"
    assert card["int8"]["before"].keys() == {"ap50", "ap30"}
    assert card["int8"]["calibrated_on"].startswith("3 radiographs and 1 simulated castings and ")
    operators = [node.op_type for node in onnx.load(tmp_path / "int8" / GRAPH).graph.node]
    assert operators.count("QuantizeLinear") >= outcome.layers - len(outcome.kept) > 10
    pixels = make_phantom("castings", 5, 9, style="easy", size=(160, 128)).pixels
    exact, rounded = (ExportedPredictor(tmp_path / name)(pixels) for name in ("float", "int8"))
    assert not np.array_equal(exact["scores"], rounded["scores"])
    assert exact["scores"][:5] == pytest.approx(rounded["scores"][:5], rel=0.1)


@pytest.mark.usefixtures("few_phantoms")
def test_what_costs_too_much_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_run(tmp_path / "run", CenterNetConfig(**TINY_CENTER_NET))
    # Accuracy before, then after for every share of layers that stays in float32.
    values = iter(
        [
            Accuracy(0.8, 0.9),
            *(Accuracy(0.7, 0.9), Accuracy(0.8, 0.89), Accuracy(0.79, 0.9)),
            *(Accuracy(0.8, 0.8), Accuracy(0.7, 0.8), Accuracy(0.794, 0.8)),
        ]
    )
    kept = []
    writer = quantize.shutil.copyfile
    monkeypatch.setattr("detectors.export.accuracy.Labeled.accuracy", lambda self, detect: next(values))
    monkeypatch.setattr(quantize.shutil, "copyfile", lambda one, other: kept.append(one) or writer(one, other))
    with pytest.raises(InputError, match=r"INT8 costs more than 0\.005 .* at best: AP 0\.800 at IoU 0\.5, 0\.890"):
        export_run(
            tmp_path / "run", tmp_path / "int8", int8=Int8Wish([tmp_path / "data"], castings(tmp_path / "data", 3))
        )
    assert len(kept) == 6
    assert not (tmp_path / "int8").exists()


@pytest.mark.usefixtures("few_phantoms")
def test_layers_that_cost_accuracy_stay_in_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_run(tmp_path / "run", CenterNetConfig(**TINY_CENTER_NET))
    values = iter([Accuracy(0.8, 0.9), Accuracy(0.7, 0.9), Accuracy(0.796, 0.9)])
    monkeypatch.setattr("detectors.export.accuracy.Labeled.accuracy", lambda self, detect: next(values))
    outcome = export_run(
        tmp_path / "run", tmp_path / "int8", int8=Int8Wish([tmp_path / "data"], castings(tmp_path / "data", 3))
    ).int8
    assert outcome is not None
    ends = ("/heat", "/sides", "/backbone/head/head.1")
    edges = [name for name in outcome.kept if "stem.0" in name or name.startswith(ends)]
    assert len(edges) == 4
    assert len(edges) < len(outcome.kept) < outcome.layers / 2  # a sixteenth of the work, the second that is tried


@pytest.mark.usefixtures("few_phantoms")
def test_boxes_that_move_call_layers_back_up_to_three_eighths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_run(tmp_path / "run", CenterNetConfig(**TINY_CENTER_NET))
    wish = Int8Wish([tmp_path / "data"], castings(tmp_path / "data", 3))
    kept = {}
    for shifts in [(0.0069,), (0.0071, 0.0069), (0.009, 0.008, 0.0079, 0.0078, 0.0077)]:
        left = iter(shifts)
        monkeypatch.setattr(quantize, "box_shift", lambda pairs, left=left: next(left))
        outcome = export_run(tmp_path / "run", tmp_path / "int8", int8=wish).int8
        assert outcome is not None
        assert next(left, None) is None
        assert outcome.box_shift == shifts[-1]
        assert f"IoU {1 - shifts[-1]:.3f} (median)" in str(outcome)
        kept[len(shifts)] = set(outcome.kept)
    assert kept[1] < kept[2] < kept[5]


def test_edges_are_the_first_layers_and_the_last_before_a_choice() -> None:
    def conv(name: str, source: str, out: str) -> onnx.NodeProto:
        return helper.make_node("Conv", [source, "w"], [out], name=name)

    nodes = [
        conv("first", "image", "a"), conv("middle", "a", "b"), conv("scores", "b", "c"), conv("boxes", "b", "d"),
        helper.make_node("TopK", ["c", "k"], ["values", "places"]),
        helper.make_node("Gather", ["d", "places"], ["rois"]),
        helper.make_node("RoiAlign", ["b", "rois", "batch"], ["crops"]),
        conv("head", "crops", "e"), conv("last", "e", "out"),
    ]  # fmt: skip
    value = helper.make_tensor_value_info("image", TensorProto.FLOAT, None)
    model = helper.make_model(helper.make_graph(nodes, "graph", [value], []))
    names = [node.name for node in nodes if node.op_type == "Conv"]
    assert edge_layers(model, names) == ["first", "scores", "boxes", "last"]


def test_late_layers_are_those_that_only_last_ones_read() -> None:
    def node(operator: str, name: str, sources: list[str], out: str) -> onnx.NodeProto:
        return helper.make_node(operator, sources, [out], name=name)

    nodes = [
        node("Conv", "first", ["image", "w"], "a"), node("Conv", "trunk", ["a", "w"], "b"),
        node("Conv", "tower", ["b", "w"], "c"), node("Relu", "relu", ["c"], "d"),
        node("Conv", "scores", ["d", "w"], "e"), node("Conv", "boxes", ["d", "w"], "f"),
        node("Conv", "side", ["b", "w"], "g"), node("Add", "sum", ["g", "d"], "h"),
        node("Conv", "more", ["h", "w"], "i"),
    ]  # fmt: skip
    value = helper.make_tensor_value_info("image", TensorProto.FLOAT, None)
    model = helper.make_model(helper.make_graph(nodes, "graph", [value], []))
    names = [one.name for one in nodes if one.op_type == "Conv"]
    edges = edge_layers(model, names)
    assert edges == ["first", "scores", "boxes", "more"]
    assert late_layers(model, names, edges) == ["tower", "side"]
    assert late_layers(model, names, ["first", "scores", "boxes"]) == []  # of the tower "more" is no last layer


def test_phantoms_of_the_runs_own_kind_measure_it() -> None:
    easy = labeled_phantoms(read_config("quickstart"), 2)
    assert easy.description.startswith("2 simulated castings")
    assert easy.read(easy.dataset.images[0]).shape == (320, 320)
    perfect = easy.accuracy(iter_of_truth(easy))
    assert (perfect.ap50, perfect.ap30) == (1.0, 1.0)
    welds = labeled_phantoms(read_config("weld_fcn"), 1)
    assert welds.description.startswith("1 simulated welds")
    pixels, what = calibration_radiographs(read_config("quickstart"), GrayWindow("auto"), [])
    assert (len(pixels), what) == (48, "48 simulated castings")


def test_phantoms_of_every_sort_that_a_run_knows_calibrate_it() -> None:
    config = read_config("casting")  # trained on another sort than it is tested on
    labeled = labeled_phantoms(config, 3)
    assert labeled.description.startswith("2 simulated castings and 1 simulated varied_castings, ")
    assert labeled.accuracy(iter_of_truth(labeled)).ap50 == 1.0
    assert sorted(a["id"] for a in labeled.dataset.annotations) == list(range(1, len(labeled.dataset.annotations) + 1))
    padding = config.data.test.box_padding
    tight = make_phantom("castings", SEED, 0).boxes
    width, height = labeled.dataset.images[0]["width"], labeled.dataset.images[0]["height"]
    low = np.maximum(tight[:, :2] - padding, 0)
    high = np.minimum(tight[:, 2:] + padding, [width, height])
    np.testing.assert_allclose(labeled.dataset.boxes_xyxy(1), np.concatenate([low, high], axis=1), atol=1e-3)


def iter_of_truth(labeled: Labeled) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Return a detector that answers with the annotated boxes, image after image."""
    dataset = labeled.dataset
    answers = iter([dataset.boxes_xyxy(image["id"]) for image in dataset.images])

    def detect(pixels: np.ndarray) -> dict[str, np.ndarray]:
        boxes = next(answers)
        return {"boxes": boxes, "scores": np.ones(len(boxes)), "labels": np.full(len(boxes), 3)}

    return detect


def test_a_file_without_defects_measures_nothing(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "a.png", "width": 64, "height": 64}]
    write_coco(tmp_path / "clean.json", CocoDataset(images, [], [{"id": 1, "name": "defect"}]))
    with pytest.raises(InputError, match="has no defects, by which accuracy could be measured"):
        labeled_file(tmp_path / "clean.json", None, GrayWindow("auto"))
