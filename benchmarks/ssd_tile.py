"""SSD VGG-16 on one tile of 300 px beside torchvision's ssd300_vgg16: random weights, one class, the same thresholds.

Both see one gray tile and return boxes, scores and labels. They take turns, so that whatever else the machine does
meets both; the medians are compared. Run on one core: OMP_NUM_THREADS=1 python benchmarks/ssd_tile.py
"""

import statistics
import time
from collections.abc import Callable

import click
import torch
from rich.table import Table
from torchvision.models.detection import ssd300_vgg16

from data.console import console
from detectors.boxes.ssd_config import SSDConfig
from detectors.build import build_model
from detectors.config.files import read_config


def seconds(function: Callable[[], object]) -> float:
    """Return how long one call takes, the work queued on a GPU included."""
    start = time.perf_counter()
    function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


@click.command()
@click.option("--repeats", default=15, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@torch.inference_mode()
def main(repeats: int, device: str) -> None:
    torch.manual_seed(0)
    config = read_config("ssd300_vgg16").model.without_weights()
    assert isinstance(config, SSDConfig)
    ours = build_model(config, 1).eval().to(device)
    theirs = ssd300_vgg16(
        weights=None, weights_backbone=None, num_classes=2, score_thresh=config.score_threshold,
        nms_thresh=config.nms_iou, topk_candidates=config.topk_candidates,
        detections_per_img=config.detections_per_image,
    ).eval().to(device)  # fmt: skip
    tile = torch.rand(1, 300, 300, device=device)
    calls = {"ours": lambda: ours([tile]), "torchvision": lambda: theirs([tile.expand(3, -1, -1)])}
    for call in calls.values():
        call(), call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats):
        for name in sorted(calls, reverse=bool(turn % 2)):
            times[name].append(seconds(calls[name]))
    table = Table("SSD VGG-16, one tile", "median s", "least s", "most s")
    for name, values in times.items():
        table.add_row(name, *(f"{value:.3f}" for value in (statistics.median(values), min(values), max(values))))
    console.print(table)
    ratios = [a / b for a, b in zip(times["ours"], times["torchvision"], strict=True)]
    medians = statistics.median(times["ours"]) / statistics.median(times["torchvision"])
    console.print(f"ratio of medians {medians:.2f}; median of the ratios of pairs {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
