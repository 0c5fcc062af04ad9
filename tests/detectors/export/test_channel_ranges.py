"""Channels of like ranges: no output changes, and rounding to 8 bits changes less."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from exported_models import export_model
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from data.synthesis.phantom import make_phantom
from detectors.boxes.faster_rcnn import FasterRCNNConfig
from detectors.boxes.rfcn import RFCNConfig
from detectors.boxes.ssd import SSDConfig
from detectors.export import int8
from detectors.export.channel_ranges import even_out
from detectors.export.int8 import Quantizer
from detectors.export.quantize import record_feeds
from detectors.runtime.folder import GRAPH
from detectors.runtime.predictor import ExportedPredictor
from detectors.schema import ModelSection

RNG = np.random.default_rng(0)
UNEVEN = np.array([8.0, 2.0, 0.5, 0.3])
"""How wide the four channels of every tensor are."""


def weights(before: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """Return 3 x 3 weights that take channels of some widths to channels of others."""
    drawn = RNG.normal(0.05, 0.3, (len(behind), len(before), 3, 3))
    return (drawn * behind[:, None, None, None] / before[None, :, None, None]).astype(np.float32)


def conv(name: str, source: str, out: str, weight: str = "") -> NodeProto:
    return helper.make_node("Conv", [source, f"{weight or name}.w", f"{weight or name}.b"], [out], name, pads=[1] * 4)


def graph(nodes: list[NodeProto], outputs: list[str]) -> ModelProto:
    """Return a graph from `image` [n, 2, h, w]; inner tensors have four uneven channels, convolutions their weights."""
    tensors = {}
    for node in nodes:
        if node.op_type == "Conv":
            before = np.ones(2) if node.input[0] == "image" else UNEVEN
            behind = np.ones(3) if node.output[0] in outputs else UNEVEN
            tensors[node.input[1]] = weights(before, behind)
            tensors[node.input[2]] = (0.2 * behind).astype(np.float32)
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 2, "h", "w"])
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    made = [numpy_helper.from_array(value, name) for name, value in tensors.items()]
    proto = helper.make_graph(nodes, "graph", [image], ends, made)
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model


def relu(source: str, out: str) -> NodeProto:
    return helper.make_node("Relu", [source], [out])


FEEDS = [{"image": RNG.random((1, 2, 16, 12), dtype=np.float32)} for _ in range(3)]


def run(model: ModelProto, names: list[str], feed: dict[str, np.ndarray] = FEEDS[0]) -> list[np.ndarray]:
    """Return tensors of a graph, inner ones, too."""
    probe = ModelProto()
    probe.CopyFrom(model)
    there = {value.name for value in model.graph.output}
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in there)
    session = onnxruntime.InferenceSession(probe.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(names, feed)


def unevenness(values: np.ndarray) -> float:
    """Return how many times as wide the widest channel is as the narrowest."""
    width = np.abs(values).max(axis=(0, 2, 3))
    return float(width.max() / width.min())


def evened(model: ModelProto, folder: Path) -> ModelProto:
    """Return an evened copy, after asserting that its outputs are those of the graph."""
    after = ModelProto()
    after.CopyFrom(model)
    names = [node.name for node in model.graph.node if node.op_type == "Conv"]
    even_out(after, names, FEEDS, folder)
    for name in [value.name for value in model.graph.output]:
        (one,), (other,) = run(model, [name]), run(after, [name])
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    return after


def test_channels_between_convolutions_get_one_width(tmp_path: Path) -> None:
    model = graph([conv("a", "image", "x"), relu("x", "y"), conv("b", "y", "out")], ["out"])
    (before,), (after,) = run(model, ["y"]), run(evened(model, tmp_path), ["y"])
    assert unevenness(before) > 20
    assert np.abs(after).max() == pytest.approx(np.abs(before).max(), rel=1e-4)  # the widest stays
    every = np.max([np.abs(run(evened(model, tmp_path), ["y"], feed)[0]).max(axis=(0, 2, 3)) for feed in FEEDS], axis=0)
    assert every == pytest.approx(np.full(4, every.max()), rel=1e-4)


def test_tensors_that_are_added_share_their_factors(tmp_path: Path) -> None:
    nodes = [
        conv("a", "image", "x"), relu("x", "y"), conv("b", "y", "z"), helper.make_node("Add", ["y", "z"], ["s"]),
        relu("s", "t"), helper.make_node("MaxPool", ["t"], ["u"], kernel_shape=[2, 2], strides=[2, 2]),
        conv("c", "u", "out"),
    ]  # fmt: skip
    model = graph(nodes, ["out"])
    after = evened(model, tmp_path)
    for name in ("y", "z", "t"):
        (wide,), (even,) = run(model, [name]), run(after, [name])
        assert unevenness(even) < unevenness(wide) / 5
    names = ["y", "z", "t"]
    pairs = zip(run(model, names), run(after, names), strict=True)
    ratios = [np.abs(even).max(axis=(0, 2, 3)) / np.abs(wide).max(axis=(0, 2, 3)) for wide, even in pairs]
    for other in ratios[1:]:
        assert other == pytest.approx(ratios[0], rel=1e-3)


def test_maps_that_go_through_one_layer_are_scaled_alike(tmp_path: Path) -> None:
    nodes = [
        conv("a", "image", "x"), relu("x", "y"), conv("b", "image", "v"), relu("v", "w"),
        conv("s1", "y", "p", "shared"), conv("s2", "w", "q", "shared"), relu("p", "p2"), relu("q", "q2"),
        conv("c", "p2", "one"), conv("d", "q2", "two"),
    ]  # fmt: skip
    model = graph(nodes, ["one", "two"])
    (before,), (after,) = run(model, ["y"]), run(evened(model, tmp_path), ["y"])
    assert unevenness(after) < unevenness(before) / 5


def test_equal_biases_that_became_one_tensor_are_scaled_apart(tmp_path: Path) -> None:
    nodes = [conv("a", "image", "x"), relu("x", "y"), conv("b", "y", "z"), relu("z", "u"), conv("c", "u", "out")]
    model = graph(nodes, ["out"])
    model.graph.node[2].input[2] = "a.b"
    model.graph.node.append(helper.make_node("Neg", ["a.b"], ["too"]))
    model.graph.output.extend([helper.make_tensor_value_info("too", TensorProto.FLOAT, None)])
    after = evened(model, tmp_path)
    for name in ("y", "u"):
        (wide,), (even,) = run(model, [name]), run(after, [name])
        assert unevenness(even) < unevenness(wide) / 5


def test_weights_that_others_read_stay(tmp_path: Path) -> None:
    model = graph([conv("a", "image", "x"), relu("x", "y"), conv("b", "y", "out")], ["out"])
    model.graph.node.append(helper.make_node("Neg", ["b.w"], ["too"]))
    model.graph.output.extend([helper.make_tensor_value_info("too", TensorProto.FLOAT, None)])
    assert evened(model, tmp_path).graph.initializer == model.graph.initializer


def branch(operator: str) -> onnx.GraphProto:
    """Return a branch that reads a tensor from around it."""
    return helper.make_graph([helper.make_node(operator, ["y"], ["e"])], operator, [], [onnx.ValueInfoProto(name="e")])


READERS = {
    "another operator": helper.make_node("Sigmoid", ["y"], ["too"]),
    "stacked channels": helper.make_node("Concat", ["y", "y"], ["too"], axis=1),
    "a product": helper.make_node("Mul", ["y", "y"], ["too"]),
    "a branch": helper.make_node("If", ["yes"], ["too"], then_branch=branch("Exp"), else_branch=branch("Neg")),
}


@pytest.mark.parametrize("other", READERS.values(), ids=READERS)
def test_what_others_read_stays(other: NodeProto, tmp_path: Path) -> None:
    nodes = [conv("a", "image", "x"), relu("x", "y"), conv("b", "y", "out"), other]
    if other.op_type == "If":
        nodes.insert(0, helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True))))
    model = graph(nodes, ["out", "too"])
    after = evened(model, tmp_path)
    assert after.graph.initializer == model.graph.initializer


def test_outputs_of_the_graph_and_layers_that_are_not_listed_stay(tmp_path: Path) -> None:
    model = graph([conv("a", "image", "x"), relu("x", "y"), conv("b", "y", "out")], ["out"])
    model.graph.output.extend([helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    assert evened(model, tmp_path).graph.initializer == model.graph.initializer
    del model.graph.output[1:]
    after = ModelProto()
    after.CopyFrom(model)
    even_out(after, ["a"], FEEDS, tmp_path)
    assert after.graph.initializer == model.graph.initializer


def test_rounding_changes_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [conv("a", "image", "x0")]
    for k in range(4):
        nodes += [relu(f"x{k}", f"y{k}"), conv(f"b{k}", f"y{k}", f"x{k + 1}")]
    nodes += [relu("x4", "y4"), conv("z", "y4", "out")]
    model = graph(nodes, ["out"])
    onnx.save(model, tmp_path / "graph.onnx")
    error = {}
    for name in ("even", "uneven"):
        if name == "uneven":
            monkeypatch.setattr(int8, "even_out", lambda *given: None)
        quantizer = Quantizer(tmp_path / "graph.onnx", [], FEEDS, tmp_path)
        quantizer.write(tmp_path / f"{name}.onnx", quantizer.edges)
        rounded = onnx.load(tmp_path / f"{name}.onnx")
        assert any(node.op_type == "QuantizeLinear" for node in rounded.graph.node)
        error[name] = np.mean(
            [np.abs(run(rounded, ["out"], feed)[0] - run(model, ["out"], feed)[0]).mean() for feed in FEEDS]
        )
    assert error["even"] < error["uneven"] / 1.5


def test_ranges_reach_beyond_those_of_calibration(tmp_path: Path) -> None:
    """The strongest defects of a part are stronger than those of calibration, and would be cut off."""
    nodes = [conv("a", "image", "x"), relu("x", "y"), conv("b", "y", "z"), relu("z", "u"), conv("c", "u", "out")]
    onnx.save(graph(nodes, ["out"]), tmp_path / "graph.onnx")
    quantizer = Quantizer(tmp_path / "graph.onnx", [], FEEDS, tmp_path)
    quantizer.write(tmp_path / "rounded.onnx", quantizer.edges)
    rounded = onnx.load(tmp_path / "rounded.onnx")
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in rounded.graph.initializer}
    step = next(
        tensors[node.input[1]] for node in rounded.graph.node if node.op_type == "QuantizeLinear" and "y" in node.input
    )
    widest = max(float(run(onnx.load(quantizer.path), ["y"], feed)[0].max()) for feed in FEEDS)
    assert 255 * float(step) == pytest.approx(1.1 * widest, rel=1e-3)


def test_a_cheap_middle_is_quantized_and_nothing_where_there_is_no_middle(tmp_path: Path) -> None:
    nodes = [conv("a", "image", "x"), relu("x", "y"), conv("b", "y", "z"), relu("z", "u"), conv("c", "u", "out")]
    model = graph(nodes, ["out"])
    cheap = next(tensor for tensor in model.graph.initializer if tensor.name == "b.w")
    cheap.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(cheap)[:, :, :1, :1].copy(), "b.w"))
    del model.graph.node[2].attribute[:]
    onnx.save(model, tmp_path / "graph.onnx")
    assert Quantizer(tmp_path / "graph.onnx", [], FEEDS, tmp_path).inner == ["b"]
    onnx.save(graph([conv("a", "image", "x"), relu("x", "y"), conv("b", "y", "out")], ["out"]), tmp_path / "two.onnx")
    assert Quantizer(tmp_path / "two.onnx", [], FEEDS, tmp_path).inner == []


def test_late_layers_stay_in_float_where_they_are_cheap(tmp_path: Path) -> None:
    nodes = [conv("a", "image", "x0")]
    for k in range(8):
        nodes += [relu(f"x{k}", f"y{k}"), conv(f"b{k}", f"y{k}", f"x{k + 1}")]
    nodes += [relu("x8", "y8"), conv("z", "y8", "out")]
    model = graph(nodes, ["out"])  # nine tenths of the products lie before the late layer
    onnx.save(model, tmp_path / "graph.onnx")
    assert Quantizer(tmp_path / "graph.onnx", [], FEEDS, tmp_path).edges == ["a", "z", "b7"]


ANCHORS = {"anchor_sizes": [[12, 24, 48]], "proposals": 40, "proposals_before_nms": 100}
SECTIONS: dict[str, ModelSection] = {
    "faster_rcnn": FasterRCNNConfig(
        backbone="resnet18", width=0.125, norm="batch", pyramid=True, fpn_channels=8, min_size=None, crop_size=3,
        head_channels=16, rpn=ANCHORS | {"anchor_sizes": [[8, 16], [24, 32], [48, 64]]},
    ),
    "rfcn": RFCNConfig(
        backbone="resnet18", width=0.125, norm="batch", stride=8, reduction=16, min_size=None, crop_size=6, rpn=ANCHORS,
    ),
    "ssd": SSDConfig(
        backbone="resnet18", width=0.125, norm="batch", pyramid=True, fpn_channels=8, extra_channels=[8], head_convs=1,
        boxes=[{"sizes": [10]}, {"sizes": [20]}, {"sizes": [40]}, {"sizes": [80]}], tile=64, tile_stride=32,
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", SECTIONS)
def test_detectors_answer_as_before(name: str, tmp_path: Path) -> None:
    """Pyramids, heads that several maps go through, regions cut out, and maps in phases."""
    export_model(tmp_path, SECTIONS[name], classes=2)
    exported = ExportedPredictor(tmp_path / "exported")
    pixels = make_phantom("castings", 3, 1, size=(150, 101)).pixels
    (feed, *_) = record_feeds(exported, [pixels])
    int8._fold(tmp_path / "exported" / GRAPH, tmp_path / "folded.onnx")
    before, after = (onnx.load(tmp_path / "folded.onnx") for _ in range(2))
    layers = [node.name for node in before.graph.node if node.op_type == "Conv"]
    even_out(after, layers, [feed], tmp_path)
    known = {tensor.name: tensor for tensor in before.graph.initializer}
    changed = [tensor.name for tensor in after.graph.initializer if known.get(tensor.name) != tensor]
    assert len(changed) > len(layers)  # weights and biases of most of them
    names = [value.name for value in before.graph.output]
    for one, other in zip(run(before, names, feed), run(after, names, feed), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-3, atol=2e-3)
