"""Labels without a person: volumes are labeled by thresholds or by an autoencoder, and a network learns from that."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from data.coco_check import load_json
from data.console import progress
from data.errors import InputError
from data.files import write_json
from data.volumes.annotation import labels_by_thresholds, labels_of_map
from data.volumes.gray_levels import GrayLevels, find_gray_levels
from data.volumes.labels import MATERIAL, PORE
from data.volumes.manifest import MANIFEST, VolumeEntry
from data.volumes.otsu import OtsuRule
from data.volumes.volume import Volume
from data.volumes.writing import write_volume
from detectors.config.experiment import ExperimentConfig
from detectors.config.source import SourceConfig
from detectors.config.volume_sources import fixed_levels, volume_entries
from detectors.evaluation.metrics import Metrics
from detectors.runs.checkpoint import load_model
from detectors.volumes.figures import Panel, write_slices
from detectors.volumes.inference import map_volume, stamp
from detectors.volumes.vae.interface import AutoencoderConfig, VolumeAutoencoder

Train = Callable[[ExperimentConfig], tuple[Path, Metrics | None]]

MARK = 0.3
"""Score of a post-processed map from which a voxel becomes a pore, where none is given."""


@dataclass(frozen=True)
class Labeler:
    """What labels a volume: `label(volume, levels)` to uint8 [Z, Y, X]; `made_by` tells it from others in a file."""

    label: Callable[[Volume, GrayLevels], NDArray[np.uint8]]
    made_by: dict[str, Any]


def label_with_thresholds(rule: OtsuRule) -> Labeler:
    """Return what labels by Otsu's thresholds and flood fill."""
    return Labeler(lambda volume, levels: labels_by_thresholds(volume, levels, rule), {"rule": rule.model_dump()})


def label_with_run(run: Path, threshold: float = MARK) -> Labeler:
    """Return what labels by the post-processed map of an autoencoder's run.

    Raises InputError for a run of another model.
    """
    model, _ = load_autoencoder(run, post_processing=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device).eval()

    def of_map(volume: Volume, levels: GrayLevels) -> NDArray[np.uint8]:
        scores = np.concatenate([slab.values for slab in map_volume(model, volume, levels, device)])
        return labels_of_map(volume, levels, scores, threshold)

    files = stamp(run / "best.ckpt" if run.is_dir() else run)
    return Labeler(of_map, {"run": str(run.resolve()), "files": files, "threshold": threshold})


def load_autoencoder(run: Path, post_processing: bool) -> tuple[VolumeAutoencoder, ExperimentConfig]:
    """Return the autoencoder of a run, set to give its map as it is or post-processed, and the run's configuration.

    Raises InputError for a run of another model.
    """
    model, config, _ = load_model(run)
    if not isinstance(model, VolumeAutoencoder):
        raise InputError(
            f"{run}: a run of '{config.model.name}', which reconstructs nothing, so that there is no map to "
            "post-process; give a run of an autoencoder of volumes, such as one of ct_vae"
        )
    model.config = model.config.model_copy(update={"post_processing": post_processing})
    return model, config


def annotate_volumes(
    entries: Sequence[VolumeEntry], labeler: Labeler, out: Path, levels: GrayLevels | None = None
) -> Path:
    """Label volumes and return the manifest of them with their labels, `out/volumes.json`.

    Labels that the entries name already are not looked at. Writes `labels_0001.tif` (`data.volumes.labels`) and so on,
    and `labels.png`, the slice with the most pores of the first volumes. The manifest is written last; called again
    with the same volumes and labeler, a whole set is left as it is. One volume is in memory at a time.

    Args:
        entries: the volumes.
        labeler: what labels them.
        out: a folder.
        levels: gray values of air and metal, before those of the entries and of the histograms.

    Raises InputError for an `out` with other labels in it, and for what is wrong with a volume.

    """
    made_by = {**labeler.made_by, "volumes": [[str(entry.file.resolve()), stamp(entry.file)] for entry in entries]}
    manifest = out / MANIFEST
    if manifest.is_file():
        if load_json(manifest).get("made_by") != made_by:
            raise InputError(f"{manifest}: labels of other volumes or by other means; choose another folder")
        return manifest
    named, panels = [], list[Panel]()
    with progress() as bar:
        for number, entry in enumerate(bar.track(entries, description="labeling"), start=1):
            volume = entry.volume()
            found = levels or entry.levels or find_gray_levels(volume)
            labels = labeler.label(volume, found)
            name = f"labels_{number:04d}.tif"
            write_volume(out / name, labels, volume.voxel_mm)
            named.append({"file": str(entry.file.resolve()), "labels": name, "voxel_mm": volume.voxel_mm,
                          "air": found.air, "metal": found.metal, "pore_voxels": int((labels == PORE).sum()),
                          "part_voxels": int((labels >= MATERIAL).sum())})  # fmt: skip
            if len(panels) < 4:
                z = int((labels == PORE).sum(axis=(1, 2)).argmax())
                marked = labels[z] == PORE
                panels.append((volume.name, found.normalize(volume.slab(z, z + 1))[0], marked, marked))
    write_slices(out / "labels.png", panels)
    write_json(manifest, {"volumes": named, "made_by": made_by}, indent=1)
    return manifest


def train_on_self_labels(
    config: ExperimentConfig, labeler: Labeler, out: Path, train: Train
) -> tuple[Path, Metrics | None]:
    """Label the training and validation volumes of a configuration, train it on that, and return run and metrics.

    The labels that its sources have are not looked at; those of the test volumes are, in the evaluation at the end.
    Writes `out/train` and `out/val` as `annotate_volumes`. Raises InputError as that and as `train`, and for a
    configuration that does not learn from labels of volumes.
    """
    if config.model.task != "volumes" or isinstance(config.model, AutoencoderConfig):
        raise InputError(
            f"{config.name}: its model '{config.model.name}' does not learn from labels of volumes; give a "
            "configuration such as ct_unet"
        )
    levels = fixed_levels(config.data.volumes)
    entries = [entry for source in config.data.train for entry in volume_entries(source)]
    sources: dict[str, Any] = {"train": [_labeled(entries, labeler, out / "train", levels)]}
    if config.data.val is not None:
        sources["val"] = _labeled(volume_entries(config.data.val), labeler, out / "val", levels)
    return train(config.model_copy(update={"data": config.data.model_copy(update=sources)}))


def autoencoder_for(config: ExperimentConfig, autoencoder: ExperimentConfig) -> ExperimentConfig:
    """Return the configuration of an autoencoder with the training volumes of another one, and no other volumes.

    Raises InputError for a configuration of another model.
    """
    if not isinstance(autoencoder.model, AutoencoderConfig):
        raise InputError(
            f"{autoencoder.name}: its model '{autoencoder.model.name}' is no autoencoder of volumes; give a "
            "configuration such as ct_vae"
        )
    data = autoencoder.data.model_copy(update={"train": config.data.train, "val": None, "test": None})
    return autoencoder.model_copy(update={"data": data})


def _labeled(entries: Sequence[VolumeEntry], labeler: Labeler, out: Path, levels: GrayLevels | None) -> SourceConfig:
    manifest = annotate_volumes(entries, labeler, out, levels)
    if not any(entry["pore_voxels"] for entry in load_json(manifest)["volumes"]):
        raise InputError(f"{manifest}: not one voxel was labeled as a pore; lower --threshold, or train longer")
    return SourceConfig(volumes=str(manifest.resolve()))
