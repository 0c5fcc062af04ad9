"""What is exported of a model: a traceable module, its inputs, and what the runtime does after it."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from data.errors import InputError
from data.schema import StrictModel
from detectors.boxes.center_net import CenterNet
from detectors.export.center_net import CenterNetGraph
from detectors.runtime.folder import Form
from detectors.runtime.working_scale import FULL_SCALE

OPSET = 17
OUTPUTS: dict[Form, list[str]] = {
    "boxes": ["boxes", "scores", "labels"],
    "window_map": ["values"],
    "pixel_map": ["values"],
}


@dataclass(frozen=True)
class Graph:
    """A model as it is exported.

    Attributes:
        module: from `image` float32 [N, 1, H, W] and one int64 scalar for each of the counts to the outputs.
        form: what the outputs are.
        decoding: what the runtime does with them, see `detectors.runtime`.
        size: height and width that the module is traced with.
        fixed_size: whether images are of this size and come in batches; else any size, one at a time.

    """

    module: nn.Module
    form: Form
    decoding: Mapping[str, Any]
    size: tuple[int, int] = (160, 192)
    fixed_size: bool = False

    @property
    def numbers(self) -> Mapping[str, int]:
        """The numbers that the graph asks for beside an image, as they are for 768 x 572 quiet pixels."""
        scale = {"scale": FULL_SCALE} if self.decoding.get("scale") else {}
        return self.decoding.get("counts", {}) | scale


Builder = Callable[[Any], Graph]


def build_graph(model: nn.Module, name: str) -> Graph:
    """Return the graph of a model in evaluation, `name` that of its section.

    Raises InputError, with the reason, where it cannot be exported.
    """
    for kind, build in BUILDERS.items():
        if isinstance(model, kind):
            return build(model)
    reason = NOT_EXPORTED.get(name, "no graph has been written for it")
    raise InputError(f"model '{name}' cannot be exported: {reason}")


def center_net_graph(model: CenterNet) -> Graph:
    """Return the graph of CenterNet."""
    config = model.config
    decoding = {
        "counts": {"candidates": config.detections_per_image},
        "detections_per_image": config.detections_per_image,
        "grows_with_area": True,
        "score_threshold": config.score_threshold,
        "least_side": 1.0,
        "nms_iou": config.nms_iou,
        "tile": None,
        "scale": {"noise_limit": config.noise_limit, "coarsest": config.coarsest_scale},
    }
    return Graph(CenterNetGraph(model), "boxes", decoding)


BUILDERS: dict[type[nn.Module], Builder] = {CenterNet: center_net_graph}

NOT_EXPORTED = {
    "dcgan": "it makes patches and detects nothing",
    **dict.fromkeys(
        ("deep_defect", "dilated", "otsu", "slice_unet", "unet3d"),
        "it works on volumes, which the runtime without PyTorch does not read",
    ),
}
"""Models that are not exported, and why."""


def write_onnx(graph: Graph, path: Path) -> None:
    """Write a graph as ONNX: batch norm folded, height and width free. Raises InputError where it cannot be traced."""
    numbers = {name: torch.tensor(number) for name, number in graph.numbers.items()}
    image = torch.rand(2 if graph.fixed_size else 1, 1, *graph.size, generator=torch.Generator().manual_seed(0))
    axes = {"image": {0: "batch"} if graph.fixed_size or graph.form == "pixel_map" else {}}
    if not graph.fixed_size:
        axes["image"] |= {2: "height", 3: "width"}
    outputs = OUTPUTS[graph.form]
    if graph.form == "boxes":
        axes |= {name: {0: "batch", 1: "candidates"} if graph.fixed_size else {1: "candidates"} for name in outputs}
    elif graph.form == "window_map":
        axes["values"] = {0: "rows", 1: "columns"}
    else:
        axes["values"] = {0: "batch", 1: "height", 2: "width"}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the tracer, about sizes that are meant to be fixed
        try:
            # The exporter that traces: the other one does not know torchvision's operators, and needs more packages.
            torch.onnx.export(
                graph.module.eval(), (image, *numbers.values()), str(path), dynamo=False, opset_version=OPSET,
                input_names=["image", *numbers], output_names=outputs, dynamic_axes=axes,
            )  # fmt: skip
        except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise InputError(f"{path.parent}: the model cannot be exported to ONNX: {reason}") from error


def as_fields(config: StrictModel) -> dict[str, Any]:
    """Return a section of a configuration as plain values."""
    return config.model_dump(mode="json")
