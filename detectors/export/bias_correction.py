"""Biases that make up for what rounding shifts: each layer's channels have the mean that they have in float.

Rounding weights to 8 bits moves the mean of a layer's outputs, and layers behind it add to that. Empirical bias
correction (Nagel et al. 2021, A White Paper on Neural Network Quantization, section 3.3) measures the shift on
calibration inputs, layer after layer with the layers before it corrected already, and takes it off the bias.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

from detectors.export.probes import Feeds, measured

INPUTS = (4, 16)
"""Inputs of the graph that means are taken over, fewest and most."""
RUNS = 400
"""Of the graph up to some layer, about: with many layers there are fewer inputs."""

Means = NDArray[np.float64]


class BiasCorrection:
    """What the layers of a graph give in float, to correct its quantized forms by.

    Args:
        model: the graph in float32.
        layers: names of the layers whose outputs count.
        feeds: inputs of the graph; some of them are used, evenly spread.
        scratch: a folder for files on the way.

    """

    def __init__(self, model: ModelProto, layers: Sequence[str], feeds: Sequence[Feeds], scratch: Path) -> None:
        named = {node.name: node for node in model.graph.node}
        self.layers = [name for name in layers if len(named[name].input) == 3]  # before group norm there are no biases
        fewest, most = INPUTS
        count = min(len(feeds), max(fewest, min(most, RUNS // max(len(self.layers), 1))))
        self.feeds = [feeds[k * len(feeds) // count] for k in range(count)]
        self.scratch = scratch
        self.means = dict(zip(self.layers, self._means(model, [named[name] for name in self.layers]), strict=True))

    def apply(self, model: ModelProto) -> None:
        """Change the biases of a quantized form of the graph."""
        named = {node.name: node for node in model.graph.node}
        producers = {name: node for node in model.graph.node for name in node.output}
        tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        limits = np.iinfo(np.int32)
        for layer in self.layers:
            node, wanted = named[layer], self.means[layer]
            quantized = producers.get(node.input[2])  # int32, in steps that are those of inputs times weights
            if quantized is None or wanted is None:
                continue
            (mean,) = self._means(model, [node])
            if mean is None:
                continue
            stored, step = tensors[quantized.input[0]], numpy_helper.to_array(tensors[quantized.input[1]])
            shifted = numpy_helper.to_array(stored) + np.rint((wanted - mean) / step).astype(np.int64)
            bias = shifted.clip(limits.min, limits.max).astype(np.int32)
            stored.CopyFrom(numpy_helper.from_array(bias, stored.name))

    def _means(self, model: ModelProto, nodes: Sequence[NodeProto]) -> list[Means | None]:
        """Return the mean of every channel of the outputs of some layers, over all inputs and places.

        None for a layer that no input reaches, such as the head of a detector without proposals.
        """
        if not nodes:
            return []
        added, outputs = [], []
        for k, node in enumerate(nodes):  # maps are summed up in the graph: all of them at once would fill the memory
            axes = [0, 2, 3] if node.op_type == "Conv" else [0]
            added.append(helper.make_node("Constant", [], [f"mean_axes_{k}"], value_ints=axes))
            added.append(
                helper.make_node("ReduceSum", [node.output[0], f"mean_axes_{k}"], [f"mean_sum_{k}"], keepdims=0)
            )
            added.append(helper.make_node("Size", [node.output[0]], [f"mean_size_{k}"]))
            outputs += [f"mean_sum_{k}", f"mean_size_{k}"]
        sums: list[Any] = [0.0] * len(nodes)
        counts = [0] * len(nodes)
        for found in measured(model, added, outputs, self.feeds, self.scratch):
            for k, (total, size) in enumerate(zip(found[::2], found[1::2], strict=True)):
                sums[k] = sums[k] + np.asarray(total, np.float64)
                counts[k] += int(size) // len(total)
        return [total / count if count else None for total, count in zip(sums, counts, strict=True)]
