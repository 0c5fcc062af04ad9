"""From a configuration's sources to volumes whose labels, if there are any, are not looked at."""

from collections.abc import Iterator

import numpy as np

from data.errors import InputError
from data.volumes.components import PartMask
from data.volumes.gray_levels import GrayLevels, find_gray_levels
from data.volumes.labeled import LabeledVolume
from data.volumes.labels import MATERIAL
from data.volumes.manifest import VolumeEntry
from data.volumes.patches import VolumeDataset
from detectors.config.experiment import ExperimentConfig
from detectors.config.volume_sources import fixed_levels, volume_entries
from detectors.volumes.vae.interface import AutoencoderConfig


def unlabeled(entry: VolumeEntry, levels: GrayLevels | None = None) -> LabeledVolume:
    """Return a volume with labels of air and material alone, where its gray values show the part.

    Pores inside of the part count as material. `levels` go before those of the entry and of the histogram. Raises
    InputError for a volume without material or air.
    """
    volume = entry.volume()
    found = levels or entry.levels or find_gray_levels(volume)
    part = PartMask(lambda a, b: found.normalize(volume.slab(a, b)), volume.shape, name=str(entry.file))
    labels = part.rows(0, volume.shape[0]).astype(np.uint8) * np.uint8(MATERIAL)
    return LabeledVolume(volume, labels, found)


def unlabeled_dataset(config: ExperimentConfig) -> VolumeDataset:
    """Return the training patches of an autoencoder: of material and of surfaces, pores wherever they lie.

    Raises InputError for patches of another size than the autoencoder's, patches around pores, and for what is wrong
    with the volumes.
    """
    data, model = config.data.volumes, config.model
    assert isinstance(model, AutoencoderConfig)
    if data.crop.sides != (model.block,) * 3:
        raise InputError(
            f"data.volumes.crop.size is {data.crop.size} and model.block {model.block}; {model.name} learns from "
            "patches of the size that it maps: give both the same number"
        )
    if data.crop.around_defect:
        raise InputError(
            f"data.volumes.crop.around_defect is {data.crop.around_defect}, and {model.name} learns without labels: "
            "set it to 0"
        )
    volumes = list(_every(config))
    length = config.train.samples_per_epoch or 64 * len(volumes)
    return VolumeDataset(volumes, length, data.crop, data.augmentation, data.open_pores, config.seed)


def _every(config: ExperimentConfig) -> Iterator[LabeledVolume]:
    for source in config.data.train:
        for entry in volume_entries(source):
            yield unlabeled(entry, fixed_levels(config.data.volumes))
