"""From a configuration's sources to COCO data and torch datasets."""

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from data.coco import CocoDataset, read_coco
from data.console import progress
from data.datasets import DetectionDataset, MixedDataset, Sample
from data.defect_free import read_defect_free
from data.epochs import EpochDataset
from data.errors import InputError
from data.fresh_phantoms import FreshPhantomDataset
from data.image_paths import existing_image
from data.masks import CATEGORIES, read_mask_folder
from data.patch_files import PatchSet, read_patches
from data.pixel_sizes import with_pixel_sizes
from data.radiograph_store import RadiographStore
from data.records import Category
from data.segmentation import SegmentationDataset, SegmentationSample
from data.synthesis.phantom import PHANTOM_KINDS
from data.synthesis.phantom_set import write_phantoms
from detectors.config.experiment import DataConfig, ExperimentConfig, PhantomConfig, SourceConfig
from detectors.config.window import gray_window

Radiographs = tuple[CocoDataset, Path]
"""COCO data and the folder that its file names start from."""


def load_source(source: SourceConfig, categories: Sequence[Category] = CATEGORIES) -> Radiographs:
    """Return the COCO data of a source and the folder of its images, making phantoms that are not there yet.

    A folder of radiographs without defects names no category and takes `categories`. Raises InputError for data
    that are no radiographs.
    """
    if source.origin.content != "radiographs":
        raise InputError(
            f"{source.location}: {source.origin.content}, where whole radiographs are needed; give 'json' or 'images'"
        )
    dataset, folder = source.origin.read(source, categories)
    return (dataset.with_margin(source.box_padding) if source.box_padding else dataset), folder


def read_json(source: SourceConfig, categories: Sequence[Category]) -> Radiographs:
    """Return the COCO file of a source."""
    return _read_coco(Path(source.location), source.images)


def read_phantoms(source: SourceConfig, categories: Sequence[Category]) -> Radiographs:
    """Return simulated radiographs, made on first use."""
    return _read_coco(make_phantoms(source.phantoms or PhantomConfig()), None)


def read_no_radiographs(source: SourceConfig, categories: Sequence[Category]) -> Radiographs:
    """Return no radiograph, of a source whose training samples are simulated one by one."""
    return CocoDataset([], [], list(CATEGORIES)), Path()


def read_masks(source: SourceConfig, categories: Sequence[Category]) -> Radiographs:
    """Return radiographs whose defects are the connected regions of binary masks."""
    images = Path(source.images or "")
    return read_mask_folder(images, source.location), images


def read_images(source: SourceConfig, categories: Sequence[Category]) -> Radiographs:
    """Return a folder of radiographs without defects."""
    return read_defect_free(source.location, categories), Path(source.location)


def _read_coco(path: Path, images: str | None) -> Radiographs:
    folder = Path(images) if images else path.parent
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of images for {path}; give data's 'images' or --images")
    return read_coco(path), folder


def load_evaluation_source(source: SourceConfig, categories: Sequence[Category]) -> tuple[CocoDataset, Path]:
    """Return the COCO data that a model with `categories` is evaluated on, and the folder of its images.

    Raises InputError for categories that are not the model's and for a missing image, so that it comes before
    hours of training and not after.
    """
    if source.origin.training:
        raise InputError(
            f"{source.origin.hint} is for training: validate and test on a set that stays the same, fresh=false"
        )
    dataset, folder = load_source(source, categories)
    known = {category["id"]: category["name"] for category in dataset.categories}
    wanted = {category["id"]: category["name"] for category in categories}
    if any(known.get(identity) != name for identity, name in wanted.items()):
        raise InputError(
            f"{dataset.path}: its categories {known} are not the model's, {wanted}; rename or renumber them"
        )
    for image in dataset.images:
        existing_image(folder, image)
    return with_pixel_sizes(dataset, folder), folder


def check_radiographs(
    config: ExperimentConfig, categories: Sequence[Category], sources: Sequence[SourceConfig] | None = None
) -> None:
    """Read every radiograph of `sources` once; without them, of all that the configuration names.

    Training sources that are kept in memory have been read already. Raises InputError for a radiograph that cannot
    be read or has another size than its record.
    """
    data = config.data
    if sources is None:
        held_out = [source for source in (data.val, data.test) if source is not None]
        sources = held_out if data.cache else [*data.train, *held_out]
    # One source is often both, and so is its folder.
    each = {source.model_dump_json(): source for source in sources if source.origin.content == "radiographs"}
    with ThreadPoolExecutor(max(1, min(data.workers, 8))) as pool:
        for source in each.values():
            dataset, folder = load_source(source, categories)
            if not dataset.images:  # phantoms that are made anew for every sample
                continue
            store = RadiographStore(dataset, folder, gray_window(data))
            with progress(transient=True) as bar:
                for _ in bar.track(pool.map(store.read, range(len(store))), len(store), description="checking"):
                    pass


def read_patch_source(source: SourceConfig, config: DataConfig) -> PatchSet:
    """Return the patches of a source whose content is patches.

    Raises InputError for unreadable patches, patches of another size than `config.patches.size`, and a window, which
    is a matter of whole radiographs.
    """
    if config.window.kind not in ("auto", "full"):
        raise InputError(f"{source.location}: data.window needs whole radiographs, not patches; leave it out")
    patches: PatchSet = source.origin.read(source, config.patches.size)
    return patches


def read_stored_patches(source: SourceConfig, size: int) -> PatchSet:
    """Return a patch file, or a folder of patches sorted by class, of `size` x `size` pixels."""
    return read_patches(source.location, size)


def make_phantoms(config: PhantomConfig) -> Path:
    """Return the COCO file of a phantom set, simulated on first use.

    The folder's name holds a hash of the settings, so that other settings never meet old pictures.
    """
    settings = config.model_dump(exclude={"folder", "fresh", "reuse", "twins"}) | {
        "generator": PHANTOM_KINDS[config.kind].generator
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:10]
    folder = Path(config.folder) / f"phantom-{config.kind}-{config.style}-{config.n}-{digest}"
    return write_phantoms(
        config.kind,
        config.n,
        folder,
        config.seed,
        bits=config.bits,
        style=config.style,
        family=config.family,
        size=config.size,
    )


def training_files(data: DataConfig) -> list[Path]:
    """Return the radiographs of all training sources, in order; none of other sources. Raises InputError."""
    files = []
    for source in data.train:
        if source.origin.content == "radiographs":
            dataset, folder = load_training_source(source)
            files += [existing_image(folder, image) for image in dataset.images]
    return files


def training_dataset(config: ExperimentConfig) -> tuple[EpochDataset[Sample], list[Category]]:
    """Return the augmented training samples and the categories that they name.

    Raises InputError when two sources do not name the same categories.
    """
    data = config.data
    sources, categories = load_training_sources(data.train)
    datasets = [
        _detection_samples(source, coco, folder, config)
        for source, (coco, folder) in zip(data.train, sources, strict=True)
    ]
    return _mixed(datasets, config), categories


def _detection_samples(
    source: SourceConfig, coco: CocoDataset, folder: Path, config: ExperimentConfig
) -> EpochDataset[Sample]:
    simulated = source.origin.training_samples(source, config)
    return DetectionDataset(coco, folder, **_sampling(source, config)) if simulated is None else simulated


def fresh_phantoms(source: SourceConfig, config: ExperimentConfig) -> FreshPhantomDataset:
    """Return phantoms of a source that are simulated anew for every sample."""
    phantoms = source.phantoms or PhantomConfig()
    return FreshPhantomDataset(
        phantoms.kind,
        phantoms.n,
        config.seed + phantoms.seed,
        config.data.augmentation,
        source.box_padding,
        phantoms.family,
        phantoms.style == "easy",
        phantoms.size,
        source.repeat,
        phantoms.reuse,
        phantoms.twins,
    )


def _sampling(source: SourceConfig, config: ExperimentConfig) -> dict[str, Any]:
    """Return how samples are drawn from a source, whatever they are: arguments of `DetectionDataset`."""
    return {
        "augmentation": config.data.augmentation,
        "window": gray_window(config.data),
        "keep_negatives": source.keep_negatives,
        "seed": config.seed,
        "repeat": source.repeat,
        "cache": config.data.cache,
        "simulation": source.simulate,
        "simulated_margin": source.box_padding,
    }


def load_training_source(source: SourceConfig, categories: Sequence[Category] = CATEGORIES) -> tuple[CocoDataset, Path]:
    """Return a source as `load_source` does; its padding is not for annotators' boxes beside simulated ones."""
    drawn_by_hand = source.simulate is not None and not source.origin.simulated
    return load_source(source.model_copy(update={"box_padding": 0.0}) if drawn_by_hand else source, categories)


def load_training_sources(sources: Sequence[SourceConfig]) -> tuple[list[tuple[CocoDataset, Path]], list[Category]]:
    """Return the data of all sources and their categories, which those that name none take from the others."""
    found = {k: load_training_source(source) for k, source in enumerate(sources) if source.origin.names_categories}
    categories = _common_categories([coco for coco, _ in found.values()]) if found else CATEGORIES
    return [found.get(k) or load_training_source(source, categories) for k, source in enumerate(sources)], categories


def _common_categories(datasets: Sequence[CocoDataset]) -> list[Category]:
    """Return the categories (id, name) that all data sets share. Raises InputError where they differ or are missing."""
    categories: list[Category] | None = None
    for coco in datasets:
        found: list[Category] = [
            {"id": c["id"], "name": c["name"]} for c in sorted(coco.categories, key=lambda c: c["id"])
        ]
        if categories is not None and found != categories:
            raise InputError(f"{coco.path}: its categories {found} are not those of the first source, {categories}")
        categories = found
    if not categories:
        raise InputError("data.train names no category; give the COCO file at least one, such as 'defect'")
    return categories


def _mixed(datasets: Sequence[Any], config: ExperimentConfig) -> Any:
    """Return the one data set as it is, or draw from several in shares of their weights."""
    length = config.train.samples_per_epoch
    if len(datasets) == 1 and length is None:
        return datasets[0]
    weights = [source.weight for source in config.data.train]
    return MixedDataset(datasets, weights, length or sum(len(dataset) for dataset in datasets), config.seed)


def refuse_simulation(data: DataConfig) -> None:
    """Raise InputError where a training source asks for simulated defects, for a task that learns from real ones."""
    if any(source.simulate is not None for source in data.train):
        raise InputError("data.train.simulate: this model learns what real defects look like; leave 'simulate' out")


def refuse_unstored(source: SourceConfig) -> None:
    """Raise InputError for a source that gives training samples with boxes and stores no radiograph."""
    if source.origin.training:
        raise InputError(f"data.train: {source.origin.hint} gives boxes, for detectors; set fresh=false for this model")


def segmentation_dataset(config: ExperimentConfig) -> tuple[EpochDataset[SegmentationSample], list[Category]]:
    """Return the augmented training samples of a segmentation task and the categories that they name.

    Several sources come in shares of their `weight`. Raises InputError when two sources do not name the same
    categories, and for annotations without a segmentation, unless simulated defects replace them.
    """
    data = config.data
    for source in data.train:
        refuse_unstored(source)
    sources, categories = load_training_sources(data.train)
    datasets = [
        SegmentationDataset(coco, folder, **_sampling(source, config), regions=data.regions)
        for source, (coco, folder) in zip(data.train, sources, strict=True)
    ]
    return _mixed(datasets, config), categories
