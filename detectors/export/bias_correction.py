"""Biases that make up for what rounding shifts: each layer's channels have the mean that they have in float.

Rounding weights to 8 bits moves the mean of a layer's outputs, and layers behind it add to that. Empirical bias
correction (Nagel et al. 2021, A White Paper on Neural Network Quantization, section 3.3) measures the shift on
calibration inputs, layer after layer with the layers before it corrected already, and takes it off the bias.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

MOST_INPUTS = 16

Feeds = Mapping[str, np.ndarray]


class BiasCorrection:
    """What the layers of a graph give in float, to correct its quantized forms by.

    Args:
        model: the graph in float32.
        layers: names of the layers whose outputs count.
        feeds: inputs of the graph; up to 16 of them are used, evenly spread.
        scratch: a folder for files on the way.

    """

    def __init__(self, model: ModelProto, layers: Sequence[str], feeds: Sequence[Feeds], scratch: Path) -> None:
        count = min(MOST_INPUTS, len(feeds))
        self.feeds = [feeds[k * len(feeds) // count] for k in range(count)]
        self.scratch = scratch
        named = {node.name: node for node in model.graph.node}
        self.layers = [name for name in layers if len(named[name].input) == 3]  # before group norm there are no biases
        self.means = dict(zip(self.layers, self._means(model, [named[name] for name in self.layers]), strict=True))

    def apply(self, model: ModelProto) -> None:
        """Change the biases of a quantized form of the graph."""
        named = {node.name: node for node in model.graph.node}
        producers = {name: node for node in model.graph.node for name in node.output}
        tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        for layer in self.layers:
            node = named[layer]
            quantized = producers.get(node.input[2])  # int32, in steps that are those of inputs times weights
            if quantized is None:
                continue
            (mean,) = self._means(model, [node])
            stored, step = tensors[quantized.input[0]], numpy_helper.to_array(tensors[quantized.input[1]])
            shifted = numpy_helper.to_array(stored) + np.rint((self.means[layer] - mean) / step).astype(np.int64)
            limits = np.iinfo(np.int32)
            stored.CopyFrom(numpy_helper.from_array(shifted.clip(limits.min, limits.max).astype(np.int32), stored.name))

    def _means(self, model: ModelProto, nodes: Sequence[NodeProto]) -> list[NDArray[np.float64]]:
        """Return the mean of every channel of the outputs of some layers, over all inputs and places."""
        if not nodes:
            return []
        probe = ModelProto()
        probe.CopyFrom(model)
        del probe.graph.output[:]  # what does not lead to these layers is not computed
        for node in nodes:
            probe.graph.output.append(helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None))
        path = self.scratch / "means.onnx"
        onnx.save(probe, path)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        sums: list[Any] = [0.0] * len(nodes)
        counts = [0] * len(nodes)
        for feed in self.feeds:
            known = {name: value for name, value in feed.items() if name in {one.name for one in session.get_inputs()}}
            for k, values in enumerate(session.run(None, known)):
                places = tuple(axis for axis in range(values.ndim) if axis != 1)
                sums[k] = sums[k] + values.sum(axis=places, dtype=np.float64)
                counts[k] += values.size // values.shape[1]
        return [total / max(count, 1) for total, count in zip(sums, counts, strict=True)]
