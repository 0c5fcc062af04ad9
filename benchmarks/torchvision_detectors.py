#!/usr/bin/env python3
"""Runs and exported models beside torchvision's own detectors, at the same input, in one process and in turns.

    python benchmarks/torchvision_detectors.py --run casting --run exported/casting --repeats 50

torchvision's have random weights and one class; their own transform scales a radiograph of 768 x 572 to 320 x 320
(ssdlite), 320 x 429 (mobilenet, which is made for it) or 800 x 1074 (resnet50), and they see it in three equal
channels. Random weights leave the choice among candidates more to do than trained ones would, or less: read the times
as a range. Give it a machine that does nothing else.
"""

from pathlib import Path

import click
import numpy as np
import torch
from torch import nn
from torchvision.models import detection

from data.gray_window import GrayWindow
from data.radiograph import Radiograph
from data.records import Category
from detectors.experiments.runtimes import THREADS, Subject, measure_subjects, open_subjects, runtimes_table
from detectors.export.write import run_eager
from detectors.runs.predict_files import Findings
from radiograph.command import parse_size

NAMES = ("fasterrcnn_mobilenet_v3_large_320_fpn", "ssdlite320_mobilenet_v3_large", "fasterrcnn_resnet50_fpn")


class Theirs:
    """A detector of torchvision behind the interface to prediction."""

    window = GrayWindow("auto")
    categories: list[Category] = [{"id": 1, "name": "defect"}]

    def __init__(self, name: str) -> None:
        torch.manual_seed(0)
        self.model: nn.Module = getattr(detection, name)(weights=None, weights_backbone=None, num_classes=2).eval()

    @torch.inference_mode()
    def find(self, radiograph: Radiograph, with_map: bool = True) -> Findings:
        """Return the detections in one radiograph."""
        (found,) = self.model([torch.from_numpy(radiograph.pixels).expand(3, -1, -1)])
        return Findings({name: value.numpy() for name, value in found.items()})

    def subject(self, name: str, pixels: np.ndarray) -> Subject:
        """Return what is measured."""
        color = nn.Module()
        color.forward = lambda images: self.model([images[0].expand(3, -1, -1)])  # type: ignore[method-assign]
        return Subject(name, "PyTorch", "float32", self, run_eager(color, [pixels])[1])


@click.command()
@click.option("--run", "runs", multiple=True, type=click.Path(path_type=Path))
@click.option("--repeats", default=50, show_default=True, type=click.IntRange(min=1))
@click.option("--threads", multiple=True, default=THREADS, show_default=True, type=click.IntRange(min=1))
@click.option("--image-size", default="768x572", show_default=True)
def main(runs: tuple[Path, ...], repeats: int, threads: tuple[int, ...], image_size: str) -> None:
    def open_all(pixels: np.ndarray, count: int) -> list[Subject]:
        ours = [subject for run in runs for subject in open_subjects(run, pixels, count)]
        return [*ours, *(Theirs(name).subject(name, pixels) for name in NAMES)]

    print(runtimes_table(measure_subjects(open_all, parse_size(image_size, "--image-size"), repeats, threads)))


if __name__ == "__main__":
    main()
