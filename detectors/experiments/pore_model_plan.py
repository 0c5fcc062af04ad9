"""What a comparison of pore models consists of: parts in folds, models, what they learn from, and its trainings."""

from dataclasses import dataclass
from typing import Any

from data.errors import InputError
from data.volumes.manifest import VolumeEntry
from detectors.config.experiment import ExperimentConfig
from detectors.config.files import read_config
from detectors.config.volume_sources import volume_entries
from detectors.schema import ModelSection
from detectors.volumes.vae.interface import AutoencoderConfig

AUTOENCODERS = {"vae": "VAE", "ce_vae": "ceVAE", "gm_vae": "gmVAE", "vq_vae": "vqVAE", "rv_vae": "RV-VAE"}
"""Autoencoders by the name of their section, in the order of the paper's tables, and their titles."""

NETS = {"mss": "MSS-UNet", "unet": "UNet", "plus_plus": "UNet++", "three_plus": "UNet 3+", "acc": "ACC-UNet"}
"""Networks by the variant of their section, in the order of the paper's tables, and their titles."""

LABELS = {"otsu": "Otsu", "otsu_fixed": "Otsu, traps closed", "self": "self-labels", "truth": "truth"}
"""What networks learn from, and what it is called."""


@dataclass(frozen=True)
class Plan:
    """What is compared.

    Attributes:
        net: configuration that the networks are trained with; `data.train` are the parts, `data.test` the hard ones.
        autoencoder: configuration that the autoencoders are trained with; its sources are not looked at.
        autoencoders: names of `AUTOENCODERS`.
        nets: names of `NETS`.
        labels: names of `LABELS`.
        labeler: the autoencoder whose map becomes self-labels, one of `autoencoders`.
        folds: how many of the parts are validated on in turn.
        seeds: how often everything is trained anew.
        threshold: score of a pore voxel in self-labels.

    """

    net: ExperimentConfig
    autoencoder: ExperimentConfig
    autoencoders: tuple[str, ...]
    nets: tuple[str, ...]
    labels: tuple[str, ...]
    labeler: str
    folds: int
    seeds: int
    threshold: float

    def record(self) -> dict[str, Any]:
        """Return what the results depend on, as JSON takes it; more folds, seeds or models only add results."""
        return {"net": self.net.as_dict(), "autoencoder": self.autoencoder.as_dict(), "labeler": self.labeler,
                "threshold": self.threshold}  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One training of one model; `labels` is None for autoencoders. `fold` counts from 0."""

    model: str
    labels: str | None
    fold: int
    seed: int

    @property
    def name(self) -> str:
        """What its run is called."""
        return self.model if self.labels is None else f"{self.model}-on-{self.labels}"

    @property
    def place(self) -> str:
        """What its fold is called."""
        return f"seed{self.seed}-fold{self.fold + 1}"


def check_plan(plan: Plan) -> list[VolumeEntry]:
    """Return the parts. Raises InputError for what cannot be compared, before anything is trained."""
    data = plan.net.data
    if plan.net.model.task != "volumes" or isinstance(plan.net.model, AutoencoderConfig):
        raise InputError(f"{plan.net.name}: model '{plan.net.model.name}' does not learn from labels of volumes; give "
                         "--cfg a configuration such as am_small_unet")  # fmt: skip
    if not isinstance(plan.autoencoder.model, AutoencoderConfig):
        raise InputError(f"{plan.autoencoder.name}: model '{plan.autoencoder.model.name}' is no autoencoder of "
                         "volumes; give --autoencoder a configuration such as am_small_vae")  # fmt: skip
    if data.test is None:
        raise InputError(f"{plan.net.name}: data.test is null, and the hard part is tested on; name its volumes there")
    if "self" in plan.labels and plan.nets and plan.labeler not in plan.autoencoders:
        raise InputError(f"self-labels by {plan.labeler}, which is not among the models; add it, or choose another "
                         "--labeler")  # fmt: skip
    parts = [entry for source in data.train for entry in volume_entries(source)]
    if len(parts) < max(plan.folds, 2):
        raise InputError(
            f"{plan.net.name}: {plan.folds} folds, and parts in data.train: {len(parts)}; each fold validates on a "
            "part of its own and trains on the others: give --folds no more than there are parts, and two parts or more"
        )
    for entry in [*parts, *volume_entries(data.test)]:
        if entry.labels is None:
            raise InputError(f"{entry.file}: no labels, and models are compared by them; name 'labels' in the manifest")
    return parts


def jobs_of(plan: Plan) -> list[Job]:
    """Return the trainings, fold by fold; a fold's autoencoders come before the networks that learn from them."""
    return [
        Job(model, labels, fold, seed)
        for seed in range(plan.seeds)
        for fold in range(plan.folds)
        for model, labels in [
            *((name, None) for name in plan.autoencoders),
            *((net, labels) for net in plan.nets for labels in plan.labels),
        ]
    ]


def section_of(plan: Plan, model: str) -> ModelSection:
    """Return the `model` section of an autoencoder or a network.

    That of the plan's configuration where it is of that model; other autoencoders have those of `ct_gm_vae` and so on,
    and the ACC-U-Net the width 8, with the blocks of the plan's.
    """
    if model in AUTOENCODERS:
        own = plan.autoencoder.model
        if own.name == model:
            return own
        assert isinstance(own, AutoencoderConfig)
        section = read_config(f"ct_{model}").model
        return section.model_copy(
            update={name: getattr(own, name) for name in ("block", "overlap", "batch", "post_processing")}
        )
    own = plan.net.model
    if model == "acc":
        section = read_config("am_acc_unet", ["model.width=8"]).model
        return section.model_copy(update={name: getattr(own, name) for name in ("block", "overlap", "batch", "loss")})
    return own.model_copy(update={"variant": model})
