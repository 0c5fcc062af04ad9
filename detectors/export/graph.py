"""What is exported of a model: a traceable module, its inputs, and what the runtime does after it."""

import importlib
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
from detectors.boxes.ssd import SSD
from detectors.boxes.two_stage import TwoStageDetector
from detectors.export.center_net import CenterNetGraph
from detectors.export.maps import PixelMapGraph, WindowMapGraph, check_window_map, context
from detectors.export.ssd import SSDGraph
from detectors.export.two_stage import TwoStageGraph
from detectors.patches.patch_classifier import PatchClassifier
from detectors.runtime.boxes import scaled_size
from detectors.runtime.folder import Form
from detectors.runtime.working_scale import FULL_SCALE
from detectors.segmentation.weld_fcn import WeldFCN

OPSET = 17
OUTPUTS: dict[Form, list[str]] = {
    "boxes": ["boxes", "scores", "labels", "features"],
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
        numbers = dict(self.decoding.get("counts", {}))
        if self.decoding.get("scale"):
            numbers["scale"] = FULL_SCALE
        if self.decoding.get("resize"):
            numbers |= scaled_size(572, 768, **self.decoding["resize"])
        return numbers


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


def two_stage_graph(model: TwoStageDetector) -> Graph:
    """Return the graph of Faster R-CNN or R-FCN."""
    config = model.config
    decoding = {
        "counts": {"proposals": config.rpn.proposals, "proposals_before_nms": config.rpn.proposals_before_nms},
        "detections_per_image": config.detections_per_image,
        "grows_with_area": config.min_size is None,
        "score_threshold": config.score_threshold,
        "least_side": 0.01,
        "nms_iou": config.nms_iou,
        "tile": None,
        "resize": None if config.min_size is None else {"min_size": config.min_size, "max_size": config.max_size},
    }
    return Graph(TwoStageGraph(model), "boxes", decoding)


def ssd_graph(model: SSD) -> Graph:
    """Return the graph of SSD: of its tiles, or of a whole radiograph where it has none."""
    config = model.config
    tile = {"size": config.tile, "stride": config.tile_stride, "batch": config.tile_batch}
    decoding = {
        "counts": {"candidates": config.topk_candidates},
        "detections_per_image": config.detections_per_image,
        "grows_with_area": True,
        "score_threshold": config.score_threshold,
        "least_side": 0.0,
        "nms_iou": config.nms_iou,
        "tile": None if config.tile is None else tile,
    }
    if config.tile is None:
        return Graph(SSDGraph(model), "boxes", decoding)
    return Graph(SSDGraph(model), "boxes", decoding, (config.tile, config.tile), fixed_size=True)


def window_map_graph(model: PatchClassifier) -> Graph:
    """Return the graph of a patch classifier over whole radiographs."""
    check_window_map(model)
    module = WindowMapGraph(model)
    decoding = {
        "stride": module.stride,
        "offset": module.stride // 2,
        "context": context(model, module),
        "object_mask": model.config.object_mask,
        "regions": as_fields(model.config.regions),
    }
    return Graph(module, "window_map", decoding)


def pixel_map_graph(model: WeldFCN) -> Graph:
    """Return the graph of a network with a probability for every pixel."""
    config = model.config
    decoding = {
        "tile": {"size": config.tile_size, "overlap": config.tile_overlap, "batch": config.tile_batch},
        "most_pixels": config.max_full_image_pixels,
        "object_mask": False,
        "regions": as_fields(config.regions),
    }
    return Graph(PixelMapGraph(model), "pixel_map", decoding)


BUILDERS: dict[type[nn.Module], Builder] = {
    CenterNet: center_net_graph,
    TwoStageDetector: two_stage_graph,
    SSD: ssd_graph,
    PatchClassifier: window_map_graph,
    WeldFCN: pixel_map_graph,
}

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
    importlib.import_module("onnx")  # PyTorch's exporter needs it, and does not say what to install
    numbers = {name: torch.tensor(number) for name, number in graph.numbers.items()}
    image = torch.rand(2 if graph.fixed_size else 1, 1, *graph.size, generator=torch.Generator().manual_seed(0))
    axes = {"image": {0: "batch"} if graph.fixed_size or graph.form == "pixel_map" else {}}
    if not graph.fixed_size:
        axes["image"] |= {2: "height", 3: "width"}
    outputs = OUTPUTS[graph.form]
    if graph.form == "boxes":
        axes |= {name: {0: "batch", 1: "candidates"} if graph.fixed_size else {1: "candidates"} for name in outputs[:3]}
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
            raise InputError(f"the model cannot be exported to ONNX: {reason}") from error


def as_fields(config: StrictModel) -> dict[str, Any]:
    """Return a section of a configuration as plain values."""
    return config.model_dump(mode="json")
