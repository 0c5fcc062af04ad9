"""Which layers of a graph come first, last and right before the last, and which activation follows one."""

from collections.abc import Sequence

from onnx import ModelProto, NodeProto

CHOICES = ("TopK", "NonMaxSuppression")
"""What chooses among candidates: layers before it are last layers, though others come behind it."""


def edge_layers(model: ModelProto, layers: Sequence[str]) -> list[str]:
    """Return those layers that have no other before them, or none behind them up to a choice among candidates."""
    chosen = set(layers)
    before: dict[str, bool] = {}  # tensors: whether a layer lies before them
    for node in model.graph.node:
        fed = node.name in chosen or any(before.get(name, False) for name in node.input)
        before.update(dict.fromkeys(node.output, fed))
    behind: dict[str, bool] = {}
    for node in reversed(model.graph.node):
        leads = node.name in chosen or any(behind.get(name, False) for name in node.output)
        if node.op_type in CHOICES:
            continue
        sources = node.input[:1] if node.op_type == "RoiAlign" else node.input  # not where it cuts, but what
        for name in sources:
            behind[name] = behind.get(name, False) or leads
    nodes = {node.name: node for node in model.graph.node}
    return [
        name
        for name in layers
        if not before.get(nodes[name].input[0], False) or not any(behind.get(out, False) for out in nodes[name].output)
    ]


def late_layers(model: ModelProto, layers: Sequence[str], edges: Sequence[str]) -> list[str]:
    """Return those layers behind which only last ones come next."""
    chosen, last = set(layers), set(edges)
    following: dict[str, set[str]] = {}  # layers that come next, by tensor
    late = []
    for node in reversed(model.graph.node):
        nexts = set().union(*(following.get(name, set()) for name in node.output))
        if node.name in chosen:
            if nexts and nexts <= last and node.name not in last:
                late.append(node.name)
            nexts = {node.name}
        for name in node.input[:1] if node.op_type == "RoiAlign" or node.name in chosen else node.input:
            following.setdefault(name, set()).update(nexts)
    return late[::-1]


def following_relus(model: ModelProto, layers: Sequence[str]) -> dict[str, NodeProto]:
    """Return the ReLU that alone reads a layer's output, by the layer; quantized with it, it costs nothing."""
    chosen = set(layers)
    readers: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    following = {node.name: readers.get(node.output[0], []) for node in model.graph.node if node.name in chosen}
    return {name: nodes[0] for name, nodes in following.items() if [n.op_type for n in nodes] == ["Relu"]}
