"""Speed and size of detectors, one image at a time as the paper measures them (Ferguson et al. 2017, Table III).

With random weights every score is near the threshold: second stages see the full number of proposals, and NMS more
boxes than a trained detector leaves it. Give runs instead of configurations for the times of trained weights.
"""

import resource
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.ops.misc import FrozenBatchNorm2d

from data.errors import InputError
from data.files import write_json, write_text
from data.gray_window import GrayWindow
from data.radiograph import read_radiograph, write_radiograph
from data.synthesis.phantom import make_phantom
from detectors.build import build_model
from detectors.config.files import read_config
from detectors.config.window import gray_window
from detectors.evaluation.comparison import read_benchmark
from detectors.evaluation.metrics import display
from detectors.evaluation.runs import read_metrics
from detectors.evaluation.table import markdown_table
from detectors.runs.checkpoint import load_model
from detectors.runs.inference import detect

Device = Literal["cpu", "cuda"]


@dataclass(frozen=True)
class PaperFigures:
    """A row of Table III: seconds an image (8 virtual cores of a 2.2 GHz Xeon E5; a K80) and mAP on GDXray."""

    method: str
    cpu: float
    gpu: float
    map: float


# Ferguson et al. 2017, Table III, by the configuration that stands for the method here.
PAPER = {
    "xnet_v2": PaperFigures("sliding window (XnetV2)", 2.231, 0.231, 0.461),
    "faster_rcnn_vgg16": PaperFigures("Faster R-CNN VGG-16", 7.291, 0.438, 0.865),
    "faster_rcnn_r101": PaperFigures("Faster R-CNN ResNet-101", 9.319, 0.512, 0.921),
    "rfcn_r101": PaperFigures("R-FCN ResNet-101", 3.721, 0.375, 0.875),
    "ssd300_vgg16": PaperFigures("SSD VGG-16", 0.088, 0.025, 0.697),
    "ssd300_r101": PaperFigures("SSD ResNet-101", 0.141, 0.051, 0.762),
}


@dataclass(frozen=True)
class Conditions:
    """How to measure: the device, (width, height) in pixels, timed images a method, CPU threads (None: all)."""

    device: Device = "cpu"
    size: tuple[int, int] = (768, 572)
    repeats: int = 10
    threads: int | None = None


def benchmark(configurations: Sequence[str], runs: Sequence[Path], conditions: Conditions) -> list[dict[str, Any]]:
    """Measure configurations with random weights and runs with theirs, each in a process of its own.

    Returns one record a method, see `measure`. Raises InputError for an unknown configuration, a folder that is
    no run, and a device that is not there, before anything is measured.
    """
    if not configurations and not runs:
        raise InputError("nothing to measure: give --cfg NAME or --run RUN")
    if conditions.device == "cuda" and not torch.cuda.is_available():
        raise InputError("device cuda: PyTorch finds no GPU here; give --device cpu")
    for name in configurations:
        read_config(name)
    for run in runs:
        load_model(run)
    with tempfile.TemporaryDirectory() as folder:
        radiograph = Path(folder) / "radiograph.png"
        write_radiograph(radiograph, make_phantom("castings", 0, 0, size=conditions.size).pixels)
        subjects = [(name, None) for name in configurations] + [(None, run) for run in runs]
        return [_measure_apart(name, run, radiograph, conditions) for name, run in subjects]


def _measure_apart(
    configuration: str | None, run: Path | None, radiograph: Path, conditions: Conditions
) -> dict[str, Any]:
    """Measure in a fresh process, whose peak memory is that of one model alone."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, configuration, run, radiograph, conditions).result()


def measure(configuration: str | None, run: Path | None, radiograph: Path, conditions: Conditions) -> dict[str, Any]:
    """Measure one detector on one radiograph file.

    Args:
        configuration: name or path, built with random weights; or None.
        run: the folder of a run instead; its weights, window and AP are taken.
        radiograph: of the size that `conditions` names.
        conditions: how to measure.

    Returns:
        `seconds` (`median`, `low`, `high`: quartiles) from the file to boxes on the CPU, reading, pre- and
        post-processing included, after one call to warm up; `parameters`; `multiply_adds` of one image (half of
        the operations that PyTorch counts; position-sensitive pooling, RoI align and NMS count as 0);
        `peak_memory` in bytes, of the process on a CPU, with Python and PyTorch, of the tensors on a GPU;
        `detections`, and what was measured how.

    """
    if conditions.threads:
        torch.set_num_threads(conditions.threads)
    device = torch.device(conditions.device)
    model, method, window = _load(configuration, run)
    model = model.to(device)
    if run is None:
        fit_frozen_norms(model, radiograph, window, device)
    seconds = []
    for _ in range(conditions.repeats + 1):
        start = time.perf_counter()
        detections = detect(model, radiograph, window, device, conditions.size)
        seconds.append(time.perf_counter() - start)
    low, median, high = statistics.quantiles(seconds[1:] * 2 if conditions.repeats == 1 else seconds[1:], n=4)
    return {
        "method": method,
        "run": str(run.resolve()) if run else None,
        "device": conditions.device,
        "device_name": torch.cuda.get_device_name() if conditions.device == "cuda" else "CPU",
        "threads": torch.get_num_threads(),
        "image_size": list(conditions.size),
        "repeats": conditions.repeats,
        "seconds": {"median": median, "low": low, "high": high},
        "peak_memory": _peak_memory(conditions.device),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "multiply_adds": _multiply_adds(model, radiograph, window, device),
        "detections": len(detections["scores"]),
        "ap50": read_metrics(run).get("ap50") if run and (run / "metrics.json").is_file() else None,
    }


def _load(configuration: str | None, run: Path | None) -> tuple[nn.Module, str, GrayWindow | None]:
    if run is not None:
        model, config, _ = load_model(run)
        return model, config.name, gray_window(config.data)
    config = read_config(configuration or "")
    torch.manual_seed(0)
    # Speed does not depend on the weights, so published ones need not be fetched.
    model = build_model(config.model.without_weights(), 1)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    return model.eval(), config.name, gray_window(config.data)


@torch.no_grad()
def fit_frozen_norms(model: nn.Module, radiograph: Path, window: GrayWindow | None, device: torch.device) -> None:
    """Give frozen norms the statistics of one radiograph, as published weights have those of their data.

    With random weights alone a deep network's signal grows until no proposal is finite, and the second stage has
    nothing to do.
    """

    def fit(norm: FrozenBatchNorm2d, inputs: tuple[torch.Tensor]) -> None:
        if inputs[0].numel():
            norm.running_mean.copy_(inputs[0].mean(dim=(0, 2, 3)))
            norm.running_var.copy_(inputs[0].var(dim=(0, 2, 3)))

    norms = [module for module in model.modules() if isinstance(module, FrozenBatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(fit) for norm in norms]
    detect(model, radiograph, window, device)
    for hook in hooks:
        hook.remove()


def _peak_memory(device: Device) -> int:
    """Return the most bytes in use so far."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if status.is_file():
        # Linux hands the parent's ru_maxrss down to a process; this figure starts anew.
        lines = (line.split() for line in status.read_text().splitlines())
        return next(int(words[1]) * 1024 for words in lines if words[0] == "VmHWM:")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@torch.no_grad()
def _multiply_adds(model: nn.Module, radiograph: Path, window: GrayWindow | None, device: torch.device) -> int:
    """Count one forward pass, outside inference mode, where the counter does not see every operation."""
    pixels = read_radiograph(radiograph, window=window).pixels
    image = torch.from_numpy(pixels)[None].to(device)
    with FlopCounterMode(display=False) as counter:
        model([image])
    return counter.get_total_flops() // 2


def write_benchmark(records: Sequence[Mapping[str, Any]], out: Path) -> str:
    """Write `benchmark.json` and `benchmark.md` into `out` and return the Markdown.

    Records of other methods and of the other device that the file holds stay, so that CPU and GPU times, measured
    one after the other, meet in one table. Raises InputError where they are of another image size.
    """
    path = out / "benchmark.json"
    kept = read_benchmark(path) if path.is_file() else []
    other = [r for r in kept if list(r["image_size"]) != list(records[0]["image_size"])]
    if other:
        size = "x".join(str(side) for side in other[0]["image_size"])
        raise InputError(f"{path}: its times are for images of {size} pixels; choose another --out")
    fresh = {_key(record) for record in records}
    merged = [record for record in kept if _key(record) not in fresh] + list(records)
    text = benchmark_table(merged)
    write_json(path, {"records": merged, "paper": {name: vars(row) for name, row in PAPER.items()}}, indent=2)
    write_text(out / "benchmark.md", text)
    return text


def _key(record: Mapping[str, Any]) -> tuple[str, str | None, str]:
    return record["method"], record["run"], record["device"]


def benchmark_table(records: Sequence[Mapping[str, Any]]) -> str:
    """Return records as Markdown in the layout of the paper's Table III, its figures beside ours.

    Times are medians with quartiles in seconds an image, memory in MB (1e6 bytes) of the device that was measured.
    """
    header = [
        "method", "CPU s/image", "GPU s/image", "mAP", "paper's CPU", "paper's GPU (K80)", "paper's mAP",
        "million parameters", "billion multiply-adds", "peak MB, CPU", "peak MB, GPU",
    ]  # fmt: skip
    methods = dict.fromkeys((record["method"], record["run"]) for record in records)
    rows = []
    for method, run in methods:
        found = {r["device"]: r for r in records if (r["method"], r["run"]) == (method, run)}
        any_device = next(iter(found.values()))
        paper = PAPER.get(method)
        rows.append(
            [
                method if run is None else f"{method} ({Path(run).name})",
                *(_seconds(found.get(device)) for device in ("cpu", "cuda")),
                display(any_device["ap50"]),
                *(display(getattr(paper, key) if paper else None) for key in ("cpu", "gpu", "map")),
                display(any_device["parameters"] / 1e6, 2),
                display(any_device["multiply_adds"] / 1e9, 2),
                *(display(found[d]["peak_memory"] / 1e6 if d in found else None, 0) for d in ("cpu", "cuda")),
            ]
        )
    return markdown_table(header, rows) + "\n" + _footnote(records)


def _seconds(record: Mapping[str, Any] | None) -> str:
    if record is None:
        return "n/a"
    seconds = record["seconds"]
    return f"{seconds['median']:.3f} ({seconds['low']:.3f} to {seconds['high']:.3f})"


def _footnote(records: Sequence[Mapping[str, Any]]) -> str:
    first = records[0]
    width, height = first["image_size"]
    clocks = dict.fromkeys(
        f"{r['device_name']}, {r['threads']} threads" if r["device"] == "cpu" else r["device_name"] for r in records
    )
    return (
        f"Images of {width} x {height} pixels, one by one, reading included; median and quartiles of "
        f"{first['repeats']}. {'; '.join(clocks)}. Paper: Ferguson et al. 2017, Table III (8 virtual cores, 2.2 GHz).\n"
    )
