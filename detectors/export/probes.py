"""What happens inside a graph: further nodes that measure, run for some inputs."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import ModelProto, NodeProto, ValueInfoProto

Feeds = Mapping[str, np.ndarray]
"""One input of a graph: its tensors by name, such as `image` float32 [N, 1, H, W]."""


def measured(
    model: ModelProto, nodes: Sequence[NodeProto], outputs: Sequence[str], feeds: Sequence[Feeds], scratch: Path
) -> Iterator[list[np.ndarray]]:
    """Yield what further nodes of a graph give, for each of some inputs. What does not lead to them is not computed.

    Args:
        model: the graph, which stays as it is.
        nodes: to add.
        outputs: tensors of these nodes.
        feeds: inputs of the graph.
        scratch: a folder for the file that is run.

    """
    if not outputs:
        yield from ([] for _ in feeds)
        return
    probe = ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.node.extend(nodes)
    probe.graph.output.extend(ValueInfoProto(name=name) for name in outputs)
    path = scratch / "probe.onnx"
    onnx.save(probe, path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    asked = {one.name for one in session.get_inputs()}
    for feed in feeds:
        yield session.run(list(outputs), {name: value for name, value in feed.items() if name in asked})
