"""Channels of like ranges: weights before and behind a tensor are scaled against each other, which changes no output.

All channels of a tensor share one step of rounding, and the widest one sets it: in the packaged detector half of the
channels use less than half of it. Where a tensor comes from convolutions and goes to convolutions, a channel can be
divided by any positive number in the weights before it, and multiplied by it in those behind (Nagel et al. 2019,
Data-Free Quantization through Weight Equalization and Bias Correction, section 4.1; here by the ranges of calibration
instead of those of weights). ReLU, sums, pooling and resizing in between let such a factor through.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, helper, numpy_helper

from detectors.export.layer_order import following_relus
from detectors.export.probes import Feeds, measured

PASSING = {
    "Relu": None, "LeakyRelu": None, "Add": None, "MaxPool": None, "AveragePool": None, "GlobalAveragePool": None,
    "Resize": 1, "RoiAlign": 1,
}  # fmt: skip
"""Operators that let a factor of a channel through, and how many of their inputs carry channels (None: all)."""
LEAST = 0.02
"""Least range of a channel, as a share of the widest one's: channels that stay dark are not blown up."""

Scales = NDArray[np.float32]
"""One value for each channel of a tensor [C]."""


def even_out(model: ModelProto, layers: Sequence[str], feeds: Sequence[Feeds], scratch: Path) -> None:
    """Scale the weights and biases of a graph in place, so that the channels of tensors have like ranges.

    Args:
        model: in float32.
        layers: names of layers with weights; of them convolutions without groups are scaled.
        feeds: inputs of the graph that ranges are taken from.
        scratch: a folder for files on the way.

    """
    convolutions = _convolutions(model, layers)
    _separate_biases(model, convolutions)
    groups = _groups(model, convolutions)
    widths = _widths(model, convolutions, groups, feeds, scratch)
    scales: dict[str, Scales] = {}
    for tensor, width in widths.items():
        widest = float(width.max())
        share = np.maximum(width / widest if widest else 1.0, LEAST).astype(np.float32)
        group = groups[tensor]
        scales[group] = np.maximum(scales[group], share) if group in scales else share
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    done: set[str] = set()
    for node in convolutions:
        before, behind = (scales.get(groups.get(name, "")) for name in (node.input[0], node.output[0]))
        for place, name in enumerate(node.input[1:], start=1):  # weights and, where there is one, the bias
            if name in done:  # of a layer that several maps go through
                continue
            done.add(name)
            value = numpy_helper.to_array(tensors[name])
            if behind is not None:
                value = value / behind.reshape(-1, *[1] * (value.ndim - 1))
            if before is not None and place == 1:
                value = value * before[None, :, None, None]
            tensors[name].CopyFrom(numpy_helper.from_array(value.astype(np.float32), name))


def _convolutions(model: ModelProto, layers: Sequence[str]) -> list[NodeProto]:
    """Return the layers that can be scaled: convolutions without groups whose weights nothing else reads."""
    chosen = set(layers) - {""}
    dimensions = {tensor.name: len(tensor.dims) for tensor in model.graph.initializer}
    found = [
        node
        for node in model.graph.node
        if node.op_type == "Conv"
        and node.name in chosen
        and all(name in dimensions for name in node.input[1:])
        and dimensions[node.input[1]] == 4
        and all(attribute.i == 1 for attribute in node.attribute if attribute.name == "group")
    ]
    read = _read_by_others(model, found)
    return [node for node in found if node.input[1] not in read]


def _read_by_others(model: ModelProto, convolutions: Sequence[NodeProto]) -> set[str]:
    """Return what is read by other nodes than some convolutions, or as something else than weights and biases."""
    chosen = {node.name for node in convolutions}
    read = {value.name for value in model.graph.output}
    for node in model.graph.node:
        read.update(_read_inside(node))
        read.update(node.input[:1] if node.name in chosen else node.input)
    return read


def _separate_biases(model: ModelProto, convolutions: Sequence[NodeProto]) -> None:
    """Give layers with weights of their own a bias of their own: ONNX Runtime merges equal tensors, such as zeros."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    owners = dict.fromkeys(_read_by_others(model, convolutions), "")  # weights by their bias
    for node in convolutions:
        if len(node.input) == 3 and owners.setdefault(node.input[2], node.input[1]) != node.input[1]:
            name = f"{node.input[1]}_{node.input[2]}"
            if name not in tensors:
                value = numpy_helper.to_array(tensors[node.input[2]])
                tensors[name] = numpy_helper.from_array(value, name)
                model.graph.initializer.append(tensors[name])
            node.input[2] = name


def _groups(model: ModelProto, convolutions: Sequence[NodeProto]) -> dict[str, str]:
    """Return the tensors whose channels can be scaled, each with the name of its group: they share their factors.

    Left out are groups that anything else than a convolution of the list makes, changes or reads.
    """
    parents: dict[str, str] = {}

    def find(name: str) -> str:
        parents.setdefault(name, name)
        while parents[name] != name:
            name = parents[name]
        return name

    chosen = {node.name for node in convolutions}
    fixed = {value.name for value in (*model.graph.input, *model.graph.output)}
    fixed |= {tensor.name for tensor in model.graph.initializer}
    first: dict[str, NodeProto] = {}  # layers by their weights and biases
    for node in model.graph.node:
        fixed.update(_read_inside(node))
        if node.name in chosen:
            for place in (node.input[0], node.output[0]):
                find(place)
            for parameter in node.input[1:]:  # maps that go through one layer are scaled alike
                other = first.setdefault(parameter, node)
                parents[find(node.input[0])] = find(other.input[0])
                parents[find(node.output[0])] = find(other.output[0])
        elif node.op_type in PASSING:
            carrying = node.input[: PASSING[node.op_type]]
            for name in carrying:
                parents[find(name)] = find(node.output[0])
            fixed.update([*node.input[len(carrying) :], *node.output[1:]])
        elif node.op_type != "Shape":
            fixed.update([*node.input, *node.output])
    bound = {find(name) for name in fixed if name in parents}
    return {name: find(name) for name in list(parents) if find(name) not in bound}


def _read_inside(node: NodeProto) -> Iterator[str]:
    """Yield the tensors that the branches of a node read."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield from _read(attribute.g)


def _read(graph: GraphProto) -> Iterator[str]:
    for node in graph.node:
        yield from node.input
        yield from _read_inside(node)
    yield from (value.name for value in graph.output)


def _widths(
    model: ModelProto,
    convolutions: Sequence[NodeProto],
    groups: Mapping[str, str],
    feeds: Sequence[Feeds],
    scratch: Path,
) -> dict[str, Scales]:
    """Return the largest absolute value of every channel [C], for the tensors [N, C, H, W] that rounding applies to.

    Those are inputs of convolutions, and outputs, behind a ReLU where only that reads them. Groups with tensors of
    different numbers of channels are left out.
    """
    relus = following_relus(model, [node.name for node in convolutions])
    rounded: dict[str, None] = {}
    for node in convolutions:
        last = relus.get(node.name, node).output[0]
        rounded |= dict.fromkeys(name for name in (node.input[0], last) if name in groups)
    if not rounded:
        return {}
    nodes = []
    for k, name in enumerate(rounded):
        nodes.append(helper.make_node("Abs", [name], [f"absolute_{k}"]))
        nodes.append(helper.make_node("ReduceMax", [f"absolute_{k}"], [f"width_{k}"], axes=[0, 2, 3], keepdims=0))
    widths: dict[str, Scales] = {}
    for found in measured(model, nodes, [f"width_{k}" for k in range(len(rounded))], feeds, scratch):
        for name, width in zip(rounded, found, strict=True):
            known = np.where(np.isfinite(width), width, 0)  # the head of a detector may see nothing
            widths[name] = np.maximum(widths[name], known) if name in widths else known
    counts: dict[str, set[int]] = {}
    for name, width in widths.items():
        counts.setdefault(groups[name], set()).add(len(width))
    return {name: width for name, width in widths.items() if len(counts[groups[name]]) == 1}
