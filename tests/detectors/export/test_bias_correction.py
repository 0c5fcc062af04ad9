"""Biases of quantized layers: channels keep the means that they have in float."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from detectors.export.bias_correction import BiasCorrection
from detectors.export.int8 import Quantizer

LAYERS = ["first", "second", "third", "fourth", "last"]
CHANNELS = [1, 6, 8, 8, 8, 3]


def write_graph(path: Path, biases: bool = True) -> None:
    """Write five convolutions, the weights of each of very different sizes, so that rounding moves their outputs."""
    rng = np.random.default_rng(0)
    nodes, tensors = [], []
    for k, name in enumerate(LAYERS):
        weight = rng.normal(0.1, 0.4, (CHANNELS[k + 1], CHANNELS[k], 3, 3)) ** 3
        tensors += [
            numpy_helper.from_array(weight.astype(np.float32), f"w{k}"),
            numpy_helper.from_array(rng.normal(0, 0.1, CHANNELS[k + 1]).astype(np.float32), f"b{k}"),
        ]
        inputs = [f"x{k}", f"w{k}", f"b{k}"][: 3 if biases else 2]
        nodes.append(helper.make_node("Conv", inputs, [f"y{k}"], name=name, pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"y{k}"], [f"x{k + 1}"], name=f"relu{k}"))
    size = ["n", 1, "h", "w"]
    image = helper.make_tensor_value_info("x0", TensorProto.FLOAT, size)
    last = helper.make_tensor_value_info(f"x{len(LAYERS)}", TensorProto.FLOAT, ["n", 3, "h", "w"])
    graph = helper.make_graph(nodes, "graph", [image], [last], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def channel_means(path: Path, feeds: list[dict[str, np.ndarray]]) -> np.ndarray:
    """Return the mean of every channel that a graph gives, float64 [3]."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.mean([session.run(None, feed)[0].mean(axis=(0, 2, 3), dtype=np.float64) for feed in feeds], axis=0)


def test_means_stay_those_of_float(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    feeds = [{"x0": rng.random((1, 1, 24, 20), dtype=np.float32)} for _ in range(6)]
    unseen = [{"x0": rng.random((1, 1, 24, 20), dtype=np.float32)} for _ in range(6)]
    write_graph(tmp_path / "graph.onnx")
    quantizer = Quantizer(tmp_path / "graph.onnx", [], feeds, tmp_path)
    assert quantizer.edges == ["first", "last"]
    quantizer.write(tmp_path / "corrected.onnx", quantizer.edges)
    monkeypatch.setattr(BiasCorrection, "apply", lambda self, model: None)
    quantizer.write(tmp_path / "rounded.onnx", quantizer.edges)
    for inputs in (feeds, unseen):
        exact = channel_means(tmp_path / "graph.onnx", inputs)
        rounded, corrected = (
            np.abs(channel_means(tmp_path / name, inputs) - exact).max() for name in ("rounded.onnx", "corrected.onnx")
        )
        assert corrected < rounded / 3


def test_layers_in_float_keep_their_biases(tmp_path: Path) -> None:
    feeds = [{"x0": np.random.default_rng(1).random((1, 1, 24, 20), dtype=np.float32)}]
    write_graph(tmp_path / "graph.onnx")
    quantizer = Quantizer(tmp_path / "graph.onnx", [], feeds, tmp_path)
    quantizer.write(tmp_path / "corrected.onnx", [*quantizer.edges, "third"])
    tensors = {tensor.name: tensor for tensor in onnx.load(tmp_path / "corrected.onnx").graph.initializer}
    before = {tensor.name: tensor for tensor in onnx.load(quantizer.path).graph.initializer}
    for name in ("b0", "b2", "b4"):
        np.testing.assert_array_equal(numpy_helper.to_array(tensors[name]), numpy_helper.to_array(before[name]))
    assert "b1" not in tensors


def test_layers_without_biases_are_quantized_as_they_are(tmp_path: Path) -> None:
    feeds = [{"x0": np.random.default_rng(1).random((1, 1, 24, 20), dtype=np.float32)}]
    write_graph(tmp_path / "graph.onnx", biases=False)
    quantizer = Quantizer(tmp_path / "graph.onnx", [], feeds, tmp_path)
    quantizer.write(tmp_path / "rounded.onnx", quantizer.edges)
    exact, rounded = (channel_means(tmp_path / name, feeds) for name in ("graph.onnx", "rounded.onnx"))
    assert not np.array_equal(exact, rounded)
    assert rounded == pytest.approx(exact, rel=0.2)


def test_layers_that_nothing_reaches_are_quantized_as_they_are(tmp_path: Path) -> None:
    """The head of a detector sees nothing where there are no proposals."""
    feeds = [{"x0": np.random.default_rng(1).random((1, 1, 24, 20), dtype=np.float32)}]
    nothing = [{"x0": np.zeros((0, 1, 24, 20), np.float32)}]
    write_graph(tmp_path / "graph.onnx")
    quantizer = Quantizer(tmp_path / "graph.onnx", [], feeds, tmp_path)
    quantizer.write(tmp_path / "corrected.onnx", quantizer.edges)
    model = onnx.load(tmp_path / "corrected.onnx")
    before = model.SerializeToString()
    BiasCorrection(onnx.load(quantizer.path), LAYERS[1:-1], nothing, tmp_path).apply(model)
    assert model.SerializeToString() == before
