"""The comparison of autoencoders and networks on parts with pores, as Iuso et al. (2024) make it.

Folds over parts: each trains on all parts but one, and validates on that one; a separate hard part is only tested on.
Autoencoders learn without labels; their maps are taken as they are and post-processed. Networks learn from Otsu's
labels, from the map of an autoencoder, and, which the source cannot, from the truth.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from data.coco_check import load_json
from data.console import console
from data.errors import InputError
from data.files import write_json
from data.volumes.labels import OPEN_PORE, PORE
from data.volumes.manifest import VolumeEntry, read_labels
from data.volumes.otsu import FIXED, OtsuRule
from detectors.config.experiment import ExperimentConfig
from detectors.config.files import describes
from detectors.config.source import SourceConfig
from detectors.evaluation.metrics import Metrics
from detectors.experiments.pore_model_plan import Job, Plan, check_plan, jobs_of, section_of
from detectors.experiments.self_labels import (
    Labeler,
    annotate_volumes,
    label_with_run,
    label_with_thresholds,
    load_autoencoder,
)
from detectors.runs.checkpoint import load_model
from detectors.runs.evaluate_volumes import count_volumes
from detectors.volumes.vae.interface import VolumeAutoencoder

RECALLS = np.linspace(0, 1, 101)
"""Recalls at which precision is kept for the curves."""


class Train(Protocol):
    """What `detectors.training.train` is: trains a configuration, or goes on with a run."""

    def __call__(self, config: ExperimentConfig, resume: Path | None = None) -> tuple[Path, Metrics | None]:
        """Return the run's folder and its metrics."""
        ...


def compare_pore_models(plan: Plan, out: Path, train: Train) -> list[dict[str, Any]]:
    """Train and evaluate everything of a plan, and return a record a training.

    Each training is a run in `out/runs`; its record is `out/results/FOLD/NAME.json`. Called again, trainings with a
    record are not repeated, and one that was interrupted goes on after its last whole epoch. A fold's seed is that of
    the configuration plus the fold's number, so that a spread over folds is over starting weights, too.

    Args:
        plan: what is compared.
        out: a folder, of this plan alone.
        train: `detectors.training.train`.

    Raises InputError as `check_plan` and `train`, and for an `out` with results of another plan.

    """
    parts = check_plan(plan)
    claim(out, plan)
    jobs = jobs_of(plan)
    records = []
    for number, job in enumerate(jobs, start=1):
        path = out / "results" / job.place / f"{job.name}.json"
        if path.is_file():
            records.append(load_json(path))
            continue
        console.print(f"training {number} of {len(jobs)}: {job.name}, {job.place}", markup=False)
        record = _do(job, plan, parts, out, train)
        write_json(path, record, indent=1)
        records.append(record)
    return records


def claim(out: Path, plan: Plan) -> None:
    """Note the plan in `out/plan.json`. Raises InputError where another one is there."""
    path = out / "plan.json"
    if path.is_file():
        noted = load_json(path)
        same = describes(noted.get("net"), plan.net) and describes(noted.get("autoencoder"), plan.autoencoder)
        for name in ("labeler", "threshold"):
            same = same and noted.get(name) == getattr(plan, name)
        if not same:
            raise InputError(f"{path}: results of other configurations, or of another --labeler or --threshold; choose "
                             "another --out")  # fmt: skip
        return
    write_json(path, plan.record(), indent=1)


def _do(job: Job, plan: Plan, parts: Sequence[VolumeEntry], out: Path, train: Train) -> dict[str, Any]:
    """Train one model, evaluate it, and return its record."""
    base = plan.autoencoder if job.labels is None else plan.net
    training = [part for index, part in enumerate(parts) if index != job.fold]
    labeled, quality = _training_source(job, plan, training, out)
    held_out = _source([parts[job.fold]], out / "folds" / f"fold{job.fold + 1}_validation.json")
    data = base.data.model_copy(update={"train": [labeled], "val": held_out, "test": plan.net.data.test})
    config = base.model_copy(
        update={
            "name": job.name, "output": out / "runs" / job.place, "model": section_of(plan, job.model), "data": data,
            "seed": base.seed + 1000 * job.seed + job.fold,
            # Validated once, after the last epoch: labels of the part that is held out choose no weights.
            "train": base.train.model_copy(update={"validate_every": base.train.epochs}),
        }
    )  # fmt: skip
    start, work = time.perf_counter(), time.process_time()
    run, _ = train(config, resume=_interrupted(config))
    seconds = {"wall": time.perf_counter() - start, "processor": time.process_time() - work}
    assert plan.net.data.test is not None
    found = {where: evaluate_both(run, source) for where, source in (("validation", held_out),
                                                                      ("hard", plan.net.data.test))}  # fmt: skip
    return {"model": job.model, "labels": job.labels, "fold": job.fold + 1, "seed": job.seed, "run": str(run),
            "seconds": seconds, "label_quality": quality, **found}  # fmt: skip


def _interrupted(config: ExperimentConfig) -> Path | None:
    """Return the last run with a checkpoint of a training without a record: it was interrupted.

    A run whose training is whole is only evaluated.
    """
    runs = sorted((config.output / config.name).glob("*/last.ckpt"), key=lambda path: path.stat().st_mtime_ns)
    return runs[-1].parent if runs else None


def _source(entries: Sequence[VolumeEntry], manifest: Path) -> SourceConfig:
    """Return a source of volumes with the labels that they have, through a manifest."""
    named = []
    for entry in entries:
        levels = {"air": entry.levels.air, "metal": entry.levels.metal} if entry.levels else {}
        assert entry.labels is not None
        named.append({"file": str(entry.file.resolve()), "labels": str(entry.labels.resolve()),
                      "voxel_mm": entry.voxel_mm, **levels})  # fmt: skip
    write_json(manifest, {"volumes": named}, indent=1)
    return SourceConfig(volumes=str(manifest.resolve()))


def _training_source(
    job: Job, plan: Plan, training: Sequence[VolumeEntry], out: Path
) -> tuple[SourceConfig, dict[str, float] | None]:
    """Return the parts that a model learns from, and how good their labels are."""
    if job.labels in (None, "truth"):
        return _source(training, out / "folds" / f"fold{job.fold + 1}_training.json"), None
    folder = out / "labels" / job.place / str(job.labels)
    manifest = annotate_volumes(training, _labeler(job, plan, out), folder)
    return SourceConfig(volumes=str(manifest.resolve())), label_quality(training, manifest)


def _labeler(job: Job, plan: Plan, out: Path) -> Labeler:
    if job.labels == "self":
        record = load_json(out / "results" / job.place / f"{plan.labeler}.json")
        return label_with_run(Path(record["run"]), plan.threshold)
    return label_with_thresholds(FIXED if job.labels == "otsu_fixed" else OtsuRule())


def label_quality(entries: Sequence[VolumeEntry], manifest: Path) -> dict[str, float]:
    """Return precision, recall and Dice, by voxels, of the pores in made labels against the truth of `entries`.

    Pores open to the surface count nowhere.
    """
    hits = marked = pores = 0
    for entry, made in zip(entries, load_json(manifest)["volumes"], strict=True):
        labeled = entry.labeled()
        truth = labeled.labels == PORE
        found = read_labels(manifest.parent / made["labels"], labeled.volume, labeled.levels) == PORE
        found &= labeled.labels != OPEN_PORE
        hits, marked, pores = hits + int((truth & found).sum()), marked + int(found.sum()), pores + int(truth.sum())
    return {"precision": hits / max(marked, 1), "recall": hits / max(pores, 1),
            "dice": 2 * hits / max(marked + pores, 1)}  # fmt: skip


def evaluate_both(run: Path, source: SourceConfig) -> dict[str, dict[str, Any]]:
    """Return what `evaluate_model` does of a run on volumes: `raw`, and of an autoencoder `post_processed`, too."""
    model, config, _ = load_model(run)
    if not isinstance(model, VolumeAutoencoder):
        return {"raw": evaluate_model(model, config, source)}
    return {name: evaluate_model(*load_autoencoder(run, processed), source)
            for name, processed in (("raw", False), ("post_processed", True))}  # fmt: skip


def evaluate_model(model: nn.Module, config: ExperimentConfig, source: SourceConfig) -> dict[str, Any]:
    """Return `ap`, `roc_auc` and the best `f1` in the part's voxels, `pores`, and `precision` at each of `RECALLS`."""
    device = torch.device("cuda" if torch.cuda.is_available() and config.train.device != "cpu" else "cpu")
    counts = count_volumes(model.to(device), source, config, device)
    metrics = counts.metrics()
    return {"ap": metrics["voxel_ap_in_part"], "roc_auc": metrics["voxel_roc_auc_in_part"],
            "f1": metrics["voxel_f1_max_in_part"], "pores": len(counts.pores),
            "precision": counts.precision_at(RECALLS).tolist()}  # fmt: skip
