"""Export a run: its graph, its card and their hashes, whole or not at all."""

import importlib.util
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from data.console import console
from data.errors import InputError
from data.gray_window import GrayWindow
from data.image_quality.limits import LIMITS_FILE, read_limits, write_limits
from data.radiograph import find_radiographs, read_radiograph
from data.synthesis.phantom import make_phantom
from detectors.config.experiment import ExperimentConfig
from detectors.config.window import gray_window
from detectors.decisions.spoken import MISSES_FILE, NORMAL_FILE
from detectors.export.graph import OPSET, Graph, build_graph, write_onnx
from detectors.export.layers import encoding_names
from detectors.export.parity import Parity, compare_answers
from detectors.export.quantize import Int8Outcome, Int8Wish, quantize_exported
from detectors.export.winograd import replace_convolutions
from detectors.runs.checkpoint import load_model
from detectors.runs.output_folder import staged_folder
from detectors.runs.prediction import default_threshold
from detectors.runtime.folder import CARD, GRAPH, SUMS, VERSION, is_exported, write_sums
from detectors.runtime.predictor import ExportedPredictor
from detectors.runtime.session import Engine, bytes_per_pixel
from detectors.version import __version__

LEARNED = (NORMAL_FILE, MISSES_FILE)
"""Files beside a run that say what it was qualified on."""
PHANTOMS = 2
PHANTOM_SIZE = (768, 572)
LEAST_PARITY = 0.9
"""Share of detections that must agree: fewer are no rounding, but a graph that computes something else."""


@dataclass(frozen=True)
class Export:
    """What was exported: how alike the float32 model and the run answer, and what 8 bits cost, if there are any."""

    parity: Parity
    int8: Int8Outcome | None = None


def export_run(
    run: Path,
    out: Path,
    radiographs: Sequence[Path] = (),
    int8: Int8Wish | None = None,
    runtime: Engine = "onnxruntime",
    least_parity: float = LEAST_PARITY,
    winograd: bool = True,
) -> Export:
    """Export a run, a checkpoint or packaged weights to a folder.

    Args:
        run: what to export.
        out: the folder, new or of an earlier export.
        radiographs: files or folders on which the exported model is compared with the run, besides two phantoms.
        int8: how to quantize it after that; None for float32.
        runtime: what the exported model is compared in, and run by where it is installed.
        least_parity: share of detections that must agree; of random weights, whose scores lie close together, fewer do.
        winograd: whether wide 3 x 3 convolutions are computed by Winograd's filtering. Never in 8 bits or for OpenVINO,
            which are faster without, nor in patch classifiers.

    Returns:
        How alike the two answer, and what 8 bits cost; the card has both, too.

    Raises InputError for a run that cannot be exported, where the exported model answers differently, and where 8 bits
    cost too much. Nothing is written then.

    """
    if importlib.util.find_spec(runtime) is None:
        raise InputError(f"{runtime} is not installed: python -m pip install {runtime}, or choose another --format")
    if out.is_dir() and any(out.iterdir()) and not is_exported(out):
        raise InputError(f"{out}: holds something else than an exported model; choose another --out")
    model, config, categories = load_model(run)
    graph = build_graph(model, config.model.name)
    # Patch classifiers slide over a radiograph: they dilate their convolutions themselves, and must see them.
    winograd = winograd and int8 is None and runtime == "onnxruntime" and graph.form != "window_map"
    replaced = replace_convolutions(graph.module) if winograd else 0
    window = gray_window(config.data)
    images = sample_radiographs(config, window, radiographs)
    answers, work = run_eager(model, images)
    learned_there = [name for name in LEARNED if (out / name).is_file()]
    with staged_folder(out, last=SUMS, optional=(*LEARNED, LIMITS_FILE)) as folder:
        write_onnx(graph, folder / GRAPH)
        card = make_card(run, model, config, categories, graph, window, work)
        card |= {"runtime": runtime, "winograd_layers": replaced}
        limits = read_limits(run)
        if limits is not None:
            write_limits(folder, limits)
        card["bytes_per_pixel"] = bytes_per_pixel(folder / GRAPH, graph.numbers, probe_size(graph))
        write_card(folder, card)
        exported = ExportedPredictor(folder)
        parity = compare_answers(
            (eager, exported.in_pixels(pixels).detections) for eager, pixels in zip(answers, images, strict=True)
        )
        if parity.share < least_parity:
            raise InputError(f"{run}: the exported model does not answer as the run does ({parity}): it is not written")
        card["parity"] = {"share": parity.share, **vars(parity)}
        write_card(folder, card)
        outcome = None
        if int8 is None:
            # What was learned of the run holds for its best weights in float32, and is no part of the model: it may be
            # learned anew. 8 bits have scores and features of their own.
            home = run.parent if run.name == "best.ckpt" else run
            for name in LEARNED:
                if (home / name).is_file():
                    shutil.copyfile(home / name, folder / name)
        else:
            outcome = quantize_exported(folder, encoding_names(graph.module), config, int8)
            write_card(folder, card | {"precision": "int8", "int8": outcome.as_fields()})
    gone = [name for name in learned_there if not (out / name).is_file()]
    if gone:
        console.print(f"removed {' and '.join(gone)} of the model that was there before", highlight=False)
    return Export(parity, outcome)


def sample_radiographs(config: ExperimentConfig, window: GrayWindow, paths: Sequence[Path]) -> list[np.ndarray]:
    """Return two phantoms, and the radiographs at some paths, as float32 [H, W] after the window."""
    kind = "welds" if config.model.task == "segmentation" else "castings"
    phantoms = [make_phantom(kind, 7, index, size=PHANTOM_SIZE).pixels for index in range(PHANTOMS)]
    files = find_radiographs(paths) if paths else []
    return phantoms + [read_radiograph(file, window=window).pixels for file in files]


@torch.no_grad()
def run_eager(model: nn.Module, images: Sequence[np.ndarray]) -> tuple[list[dict[str, np.ndarray]], int]:
    """Return the model's detections in each image, and the multiply-adds of the first one."""
    answers, work = [], 0
    for image in images:
        with FlopCounterMode(display=False) as counter:
            (found,) = model([torch.from_numpy(image)[None]])
        work = work or counter.get_total_flops() // 2
        answers.append({name: value.numpy() for name, value in found.items()})
    return answers, work


def probe_size(graph: Graph) -> tuple[int, int]:
    """Return height and width of images that the memory is measured with."""
    return graph.size if graph.fixed_size else (PHANTOM_SIZE[1], PHANTOM_SIZE[0])


def make_card(
    run: Path,
    model: nn.Module,
    config: ExperimentConfig,
    categories: Sequence[Any],
    graph: Graph,
    window: GrayWindow,
    work: int,
) -> dict[str, Any]:
    """Return the card of an exported model: what prediction needs, and what a reader wants to know."""
    return {
        "format": "radiograph-detectors exported model",
        "version": VERSION,
        "toolkit": __version__,
        "model": {"name": config.model.name, "parameters": sum(p.numel() for p in model.parameters())},
        "run": {"name": config.name, "from": run.name},
        "form": graph.form,
        "precision": "float32",
        "opset": OPSET,
        "input": "image: float32 [N, 1, height, width], gray values in [0, 1] after the window, larger is brighter",
        "categories": list(categories),
        "window": {
            "kind": window.kind, "low": window.low, "high": window.high, "bit_depth": window.bit_depth,
            "trained_on": list(window.trained_on) if window.trained_on else None,
        },
        "threshold": default_threshold(run),
        "decoding": dict(graph.decoding),
        "multiply_adds": {"pixels": list(PHANTOM_SIZE), "count": work},
        "configuration": config.model.model_dump(mode="json"),
    }  # fmt: skip


def write_card(folder: Path, card: dict[str, Any]) -> None:
    """Write the card into a folder that is still being made, and the hashes of all its files."""
    (folder / CARD).write_text(json.dumps(card, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    write_sums(folder)


def report(out: Path, export: Export) -> None:
    """Print what was exported."""
    size = sum(path.stat().st_size for path in out.iterdir())
    console.print(f"{export.parity}")
    if export.int8 is not None:
        console.print(f"{export.int8}")
    console.print(f"wrote {out} ({size / 1e6:.1f} MB); predict with: radiograph predict --run {out} RADIOGRAPHS")
