"""Evaluate a model of volumes on labeled ones: metrics, pores, plots and pictures into a folder."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from data.console import progress
from data.files import write_json
from data.volumes.components import SLAB, Background, PartMask
from data.volumes.labeled import LabeledVolume
from data.volumes.labels import AIR, OPEN_PORE, PORE
from detectors.config.experiment import ExperimentConfig, SourceConfig
from detectors.config.volume_sources import labeled_volumes, volume_entries
from detectors.evaluation.metrics import EMPTY_METRICS, Metrics
from detectors.evaluation.pixel_scores import DEFAULT_THRESHOLD
from detectors.volumes.evaluation import VolumeCounts
from detectors.volumes.figures import plot_found_by_size, write_slices
from detectors.volumes.inference import map_volume, reader
from detectors.volumes.otsu import OtsuModel


def whole_map(
    model: nn.Module,
    labeled: LabeledVolume,
    device: torch.device,
    closed_air: bool = False,
    outer_air: bool = False,
) -> NDArray[np.float32]:
    """Return the pore probability of a labeled volume, float32 [Z, Y, X], in memory.

    With `closed_air`, what a network says is raised to 1 in air that metal encloses: a cavity larger than those it has
    learned from can look like the air around the part to it. With `outer_air`, it is lowered to 0 in the air around the
    part and in the voxels next to it: what is open to the outside, such as the end of a hole, is no closed pore.
    """
    volume = labeled.volume
    slabs = map_volume(model.eval(), volume, labeled.levels, device)
    values = np.concatenate([slab.values for slab in slabs])
    if (closed_air or outer_air) and not isinstance(model, OtsuModel):
        background: Background = "border" if (labeled.labels == AIR).any() else "none"
        read = reader(volume, labeled.levels)
        part = PartMask(read, volume.shape, background=background, name=str(volume.path or "volume"))
        for first in range(0, len(values), SLAB):
            slab = values[first : first + SLAB]
            if outer_air:
                slab[part.near_outside(first, first + SLAB)] = 0
            if closed_air:
                slab[part.closed_air(first, first + SLAB)] = 1
    return values


def count_volumes(
    model: nn.Module,
    source: SourceConfig,
    config: ExperimentConfig,
    device: torch.device,
    threshold: float | None = None,
    on_volume: Callable[[], None] = lambda: None,
    on_map: Callable[[LabeledVolume, NDArray[np.float32]], None] = lambda labeled, values: None,
) -> VolumeCounts:
    """Return what is counted of a model's maps of all volumes of a source; one volume is in memory at a time."""
    data = config.data.volumes
    counts = VolumeCounts(DEFAULT_THRESHOLD if threshold is None else threshold, data.open_pores, data.least_voxels)
    for labeled in labeled_volumes(source, data):
        values = whole_map(model, labeled, device, data.closed_air, data.drops_outer_air)
        counts.add(values, labeled.labels, labeled.volume.name, labeled.volume.voxel_mm)
        on_map(labeled, values)
        on_volume()
    return counts


def evaluate_volumes(
    model: nn.Module,
    source: SourceConfig,
    config: ExperimentConfig,
    device: torch.device,
    folder: Path,
    threshold: float | None = None,
) -> Metrics:
    """Evaluate a model on the volumes of a source and write the results into `folder`.

    `metrics.json`; `pores.csv`, each pore of the labels with the score at which it is found; `pores_by_size.json`;
    `volumes.json` with the gray levels that each volume was normalized by; `plots/pores_by_size.png` and
    `plots/slices.png`.

    Args:
        model: on `device`.
        source: volumes with labels.
        config: of the run.
        device: where the model lies.
        folder: of the run, or of this evaluation.
        threshold: chosen on validation data; 0.5 without.

    Raises InputError for bad data.

    """
    shown: list[tuple[str, NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]] = []
    levels: list[dict[str, str | float]] = []
    mark = DEFAULT_THRESHOLD if threshold is None else threshold

    def keep(labeled: LabeledVolume, values: NDArray[np.float32]) -> None:
        levels.append({"volume": str(labeled.volume.path), "air": labeled.levels.air, "metal": labeled.levels.metal})
        if len(shown) < 4:
            truth = (labeled.labels == PORE) | (labeled.labels == OPEN_PORE)
            z = int(truth.sum(axis=(1, 2)).argmax())
            gray = labeled.levels.normalize(labeled.volume.slab(z, z + 1))[0]
            shown.append((labeled.volume.name, gray, values[z] >= mark, truth[z]))

    with progress() as bar:
        task = bar.add_task("evaluating", total=len(volume_entries(source)))
        counts = count_volumes(model, source, config, device, threshold, lambda: bar.advance(task), keep)
    metrics = EMPTY_METRICS | counts.metrics()
    counts.write_pores(folder / "pores.csv")
    write_json(folder / "pores_by_size.json", counts.by_size(), indent=1)
    write_json(folder / "volumes.json", {"gray_levels": levels}, indent=1)
    plot_found_by_size(counts, folder / "plots" / "pores_by_size.png", config.name)
    write_slices(folder / "plots" / "slices.png", shown)
    write_json(folder / "metrics.json", metrics, indent=2)
    return metrics
