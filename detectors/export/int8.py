"""Static quantization of a graph to 8-bit integers: ranges from calibration, QDQ pairs around all but some layers.

ONNX Runtime's scheme for x86: unsigned activations, signed weights with one scale a channel. Channels are evened out
before (`detectors.export.channel_ranges`), biases corrected after (`detectors.export.bias_correction`). What turns gray
values into channels stays in float, and so do the first layers (their few input channels cost much to quantize and gain
nothing), the last ones before a choice among candidates (their output is the score itself) and, where they are cheap,
those that only the last ones read: no later layer averages what rounding does to their output.
"""

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import ModelProto, NodeProto, helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, create_calibrator
from onnxruntime.quantization.calibrate import TensorData, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from detectors.export.bias_correction import BiasCorrection
from detectors.export.channel_ranges import even_out
from detectors.export.layer_order import edge_layers, following_relus, late_layers
from detectors.export.probes import Feeds, measured

LAYERS = ("Conv", "Gemm")
HEADROOM = 1.1
"""Of ranges, times those of calibration: what is beyond them is cut off, and the strongest defects go first."""
MOST_LATE = 0.125
"""Most multiply-adds, as a share of all layers', of those before the last that stay in float."""


class Quantizer:
    """A graph, calibrated once, of which any set of layers can be quantized.

    Args:
        graph: an ONNX file.
        encodings: names of the modules that turn gray values into channels.
        feeds: inputs of the graph for calibration, at least one.
        scratch: a folder for files on the way.

    Attributes:
        layers: names of all that could be quantized, in the order of the graph.
        edges: of them, those that stay in float in any case: first, last and cheap late ones.
        inner: the others.
        products: multiply-adds of each layer, for the first of the inputs.

    """

    def __init__(self, graph: Path, encodings: Sequence[str], feeds: Sequence[Feeds], scratch: Path) -> None:
        self.path = scratch / "folded.onnx"
        _fold(graph, self.path)
        model = onnx.load(self.path)
        self.layers = [n.name for n in model.graph.node if _has_weights(n, model) and not _inside(n, encodings)]
        even_out(model, self.layers, feeds, scratch)
        onnx.save(model, self.path)
        self.edges = edge_layers(model, self.layers)
        late = late_layers(model, self.layers, self.edges)
        self.products = _products(model, self.layers, feeds[:1], scratch)
        some_left = len(self.edges) + len(late) < len(self.layers)
        if some_left and sum(self.products[name] for name in late) <= MOST_LATE * sum(self.products.values()):
            self.edges += late
        self.inner = [name for name in self.layers if name not in self.edges]
        self._relus = following_relus(model, self.layers)
        with _quiet():
            types = [*LAYERS, "Relu"]
            calibrator = create_calibrator(
                self.path, types, str(scratch / "calibration.onnx"), calibrate_method=CalibrationMethod.MinMax
            )
            calibrator.collect_data(_Reader(feeds))
            found = calibrator.compute_data()
        self._ranges = TensorsData(
            CalibrationMethod.MinMax,
            {name: tuple(np.float32(end) * np.float32(HEADROOM) for end in _ends(found[name])) for name in found},
        )
        self._correction = BiasCorrection(model, self.inner, feeds, scratch)

    def write(self, path: Path, kept: Iterable[str], corrected: bool = True) -> None:
        """Write the graph with all layers but the kept ones in 8 bits, with biases corrected or as they are."""
        kept = set(kept)
        chosen = [name for name in self.layers if name not in kept]
        relus = [self._relus[name].name for name in chosen if name in self._relus]
        with _quiet():
            quantizer = QDQQuantizer(
                onnx.load(self.path), True, False, QuantType.QInt8, QuantType.QUInt8, self._ranges,
                [*chosen, *relus], [], [*LAYERS, "Relu"], {},
            )  # fmt: skip
            quantizer.quantize_model()
        model = quantizer.model.model
        if corrected:
            self._correction.apply(model)
        onnx.save(model, path)


def _fold(graph: Path, path: Path) -> None:
    """Write the graph with constants folded, and norms into the layers before them."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])


def _has_weights(node: NodeProto, model: ModelProto) -> bool:
    return node.op_type in LAYERS and any(tensor.name == node.input[1] for tensor in model.graph.initializer)


def _inside(node: NodeProto, modules: Sequence[str]) -> bool:
    return any(f"/{name}/" in node.name for name in modules)


def _products(model: ModelProto, layers: Sequence[str], feeds: Sequence[Feeds], scratch: Path) -> dict[str, int]:
    """Return the multiply-adds of layers, over some inputs."""
    named = {node.name: node for node in model.graph.node}
    weights = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    nodes = [helper.make_node("Size", [named[name].output[0]], [f"size_{k}"]) for k, name in enumerate(layers)]
    found = list(measured(model, nodes, [f"size_{k}" for k in range(len(layers))], feeds, scratch))
    sizes = np.sum(found, axis=0).tolist()
    each = [math.prod(weights[named[name].input[1]]) // _outputs(named[name], weights) for name in layers]
    return {name: size * products for name, size, products in zip(layers, sizes, each, strict=True)}


def _outputs(node: NodeProto, weights: Mapping[str, Sequence[int]]) -> int:
    """Return the output channels of a layer."""
    transposed = node.op_type == "Conv" or any(a.name == "transB" and a.i for a in node.attribute)
    return weights[node.input[1]][0 if transposed else 1]


def _ends(tensor: TensorData) -> tuple[float, float]:
    """Return the smallest and the largest value that calibration saw."""
    low, high = tensor.range_value[:2]
    return float(np.min(low)), float(np.max(high))


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # which has no types
    def __init__(self, feeds: Sequence[Feeds]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next inputs, None after the last."""
        feed = next(self._feeds, None)
        return None if feed is None else dict(feed)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what the quantizer logs about its own choices."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
