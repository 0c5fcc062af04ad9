"""From a configuration's sources to labeled volumes."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from data.errors import InputError
from data.masks import CATEGORIES
from data.records import Category
from data.volumes.ct_set import GENERATOR, write_ct_set
from data.volumes.gray_levels import GrayLevels
from data.volumes.labeled import LabeledVolume
from data.volumes.manifest import VolumeEntry, load_labeled, read_manifest
from data.volumes.patches import VolumeDataset
from data.volumes.transforms import VolumeDataConfig
from detectors.config.experiment import ExperimentConfig, SourceConfig
from detectors.config.phantoms import CTPhantomConfig

VOLUME_CATEGORIES: list[Category] = [{**category} for category in CATEGORIES]
"""Label 1 is a pore; the record of a radiograph's defect."""


def read_volumes(source: SourceConfig) -> list[VolumeEntry]:
    """Return the volumes that a source's field `volumes` names."""
    return read_manifest(source.location)


def read_ct_phantoms(source: SourceConfig) -> list[VolumeEntry]:
    """Return simulated volumes, made on first use.

    The folder's name holds a hash of the settings, so that other settings never meet old volumes.
    """
    config = source.ct_phantoms
    assert config is not None
    settings = config.model_dump(exclude={"folder"}) | {"generator": GENERATOR}
    for name in (
        "pores",
        "exposure",
        "cone",
    ):  # left out where usual: sets from before there were these keep their name
        if settings[name] == CTPhantomConfig.model_fields[name].default:
            del settings[name]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:10]
    folder = Path(config.folder) / f"volumes-{config.kind}-{config.n}-{digest}"
    return read_manifest(
        write_ct_set(
            config.kind, config.n, folder, config.seed, families=tuple(config.families) if config.families else None,
            size=config.size, quality=config.quality, projections=config.projections,
            pores=config.pores, exposure=config.exposure, cone=config.cone,
        )
    )  # fmt: skip


def volume_entries(source: SourceConfig) -> list[VolumeEntry]:
    """Return the volumes of a source. Raises InputError for a source of other data."""
    if source.origin.content != "volumes":
        raise InputError(f"{source.location}: {source.origin.content}, where volumes are needed; give 'volumes' or "
                         "'ct_phantoms'")  # fmt: skip
    entries: list[VolumeEntry] = source.origin.read(source)
    return entries


def fixed_levels(data: VolumeDataConfig) -> GrayLevels | None:
    """Return the gray levels that the configuration states, None where each volume has its own."""
    return GrayLevels(data.gray_levels.air, data.gray_levels.metal) if data.gray_levels else None


def labeled_volumes(source: SourceConfig, data: VolumeDataConfig) -> Iterator[LabeledVolume]:
    """Yield the volumes of a source with their labels, one at a time."""
    yield from load_labeled(volume_entries(source), fixed_levels(data))


def volume_dataset(config: ExperimentConfig) -> VolumeDataset:
    """Return the training patches of all sources. Raises InputError for what is wrong with them."""
    data = config.data.volumes
    volumes = [volume for source in config.data.train for volume in labeled_volumes(source, data)]
    length = config.train.samples_per_epoch or 64 * len(volumes)
    return VolumeDataset(volumes, length, data.crop, data.augmentation, data.open_pores, config.seed)
