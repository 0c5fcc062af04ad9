#!/usr/bin/env python3
"""Does loading keep ahead of training? Prints the share of the time a step waits for data, and ms a sample.

Radiographs are random 8-bit PNGs of 768 x 572 pixels (noise compresses badly, so decoding is at its slowest);
each sample is decoded, cropped to 256 x 256, flipped, shaded and noised. The step is a pause of `--step-ms`,
as of a GPU that works by itself, or a true training step of the detector that `--cfg` names.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch
from torch.utils.data import DataLoader

from data.coco import CocoDataset
from data.console import console
from data.datasets import DetectionDataset, collate, limit_threads
from data.radiograph import write_radiograph
from data.records import Annotation, ImageRecord
from data.transforms import AugmentationConfig, CropConfig
from radiograph.command import Command

HEIGHT, WIDTH, DEFECTS, EDGE = 572, 768, 5, 22
AUGMENTATION = AugmentationConfig(
    crop=CropConfig(size=256, defect_crop_fraction=0.5), horizontal_flip=0.5, vertical_flip=0.5, contrast=0.1,
    brightness=0.1, noise=(0.0, 0.02),
)  # fmt: skip


@click.command(cls=Command)
@click.option("--workers", default=2, help="Loading workers.")
@click.option("--batch", default=8, help="Samples a step.")
@click.option("--steps", default=50, help="Steps that are timed.")
@click.option("--step-ms", default=100.0, help="Length of the pretended training step.")
@click.option("--cfg", help="Train this configuration's detector instead of pretending.")
@click.option("--cache", is_flag=True, help="Keep the radiographs in memory.")
def main(workers: int, batch: int, steps: int, step_ms: float, cfg: str | None, cache: bool) -> None:
    """Time loading against training."""
    step = training_step(cfg) if cfg else lambda images, targets: time.sleep(step_ms / 1000)
    with tempfile.TemporaryDirectory() as folder:
        images = min(64, batch * (steps + 3))
        dataset = DetectionDataset(
            random_radiographs(Path(folder), images),
            Path(folder),
            AUGMENTATION,
            repeat=-(-batch * (steps + 3) // images),
            cache=cache,
        )
        alone = milliseconds_a_sample(dataset)
        loader = DataLoader(
            dataset, batch, num_workers=workers, collate_fn=collate, worker_init_fn=limit_threads, drop_last=True
        )
        waited, worked = time_steps(loader, step, steps)
    console.print(f"one sample          {alone:.2f} ms of one core")
    console.print(f"training step       {1000 * worked / steps:.1f} ms, {batch} samples")
    share = waited / (waited + worked)
    console.print(f"waiting for data    {1000 * waited / steps:.2f} ms a step, {share:.1%} of the time")


def random_radiographs(folder: Path, count: int) -> CocoDataset:
    """Write `count` radiographs of noise into `folder` and return their COCO data, `DEFECTS` boxes each."""
    rng = np.random.default_rng(0)
    images: list[ImageRecord] = []
    annotations: list[Annotation] = []
    for k in range(1, count + 1):
        write_radiograph(folder / f"{k}.png", rng.normal(0.5, 0.02, (HEIGHT, WIDTH)).clip(0, 1))
        images.append({"id": k, "file_name": f"{k}.png", "width": WIDTH, "height": HEIGHT})
        for x, y in rng.integers(0, [WIDTH - EDGE, HEIGHT - EDGE], (DEFECTS, 2)).tolist():
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": k,
                    "category_id": 1,
                    "iscrowd": 0,
                    "bbox": [x, y, EDGE, EDGE],
                    "area": EDGE * EDGE,
                }
            )
    return CocoDataset(images, annotations, [{"id": 1, "name": "defect"}])


def training_step(cfg: str) -> Callable[[list, list], None]:
    """Return one optimization step of the configured detector, on the GPU where there is one."""
    from detectors.build import build_model
    from detectors.config.files import read_config

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = build_model(read_config(cfg).model, num_classes=1).to(device).train()
    optimizer = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), lr=1e-6)

    def step(images: list, targets: list) -> None:
        images = [image.to(device) for image in images]
        targets = [{key: value.to(device) for key, value in target.items()} for target in targets]
        optimizer.zero_grad()
        sum(model(images, targets).values()).backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return step


def milliseconds_a_sample(dataset: DetectionDataset, samples: int = 100) -> float:
    """Return the processor time that one sample takes, which other work on the machine does not change."""
    dataset[0]
    begin = time.process_time()
    for index in range(samples):
        dataset[index % len(dataset)]
    return 1000 * (time.process_time() - begin) / samples


def time_steps(loader: DataLoader, step: Callable[[list, list], None], steps: int) -> tuple[float, float]:
    """Return the seconds spent waiting for batches and training on them, the first two batches aside."""
    batches = iter(loader)
    waited = worked = 0.0
    for k in range(steps + 2):
        begin = time.perf_counter()
        images, targets = next(batches)
        ready = time.perf_counter()
        step(images, targets)
        if k >= 2:
            waited += ready - begin
            worked += time.perf_counter() - ready
    return waited, worked


if __name__ == "__main__":
    main()
