"""What is to be done: an archive, a model and its settings; and one unit of that work with its result."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from data.archives.archive import Archive
from data.image_quality.limits import QualityLimits
from data.limits import max_samples
from data.records import Category
from detectors.runtime.folder import SUMS, file_hash, is_exported, read_exported
from detectors.runtime.opening import open_predictor


@dataclass(frozen=True)
class Job:
    """What every worker needs to know.

    Attributes:
        archive: the radiographs.
        run: an exported model, a run, a checkpoint or the name of packaged weights; every machine has it at this path.
        window: another gray window than the run's, by its kind.
        bit_depth: bits of a stored gray level, where the files do not state them rightly.
        max_detections: raises the most detections of a radiograph.
        most_samples: the limit on pixels times channels of a radiograph.
        limits: the image quality that the model was judged on, to warn of radiographs that are worse; None: no such
            warnings.

    """

    archive: Archive
    run: Path
    window: str | None = None
    bit_depth: int | None = None
    max_detections: int | None = None
    most_samples: int = field(default_factory=max_samples)
    limits: QualityLimits | None = None

    def settings(self, part_size: int) -> dict[str, Any]:
        """Return all that the results depend on. Raises InputError where the model is missing."""
        archive = self.archive
        return {
            "archive": archive.listed if archive.listed and archive.kind != "shards" else archive.root,
            "shard": archive.listed if archive.kind == "shards" else None,
            "images": archive.root if archive.kind == "coco" else None,
            "model_sha256": model_hash(self.run),
            "window": self.window,
            "bit_depth": self.bit_depth,
            "max_detections": self.max_detections,
            "max_pixels": self.most_samples,
            "image_quality": None if self.limits is None else asdict(self.limits),
            "part_size": part_size,
        }


@dataclass(frozen=True)
class Unit:
    """A part of the listing: its number and its rows, see `data.archives.schema.LISTING`."""

    number: int
    rows: list[dict[str, Any]]

    def __str__(self) -> str:
        return f"unit {self.number} ({self.rows[0]['file']} to {self.rows[-1]['file']})"


@dataclass(frozen=True)
class Result:
    """What came of a unit.

    Attributes:
        number: of the unit.
        detections: a batch of rows, see `data.archives.schema.DETECTIONS`.
        unreadable: names of radiographs that could not be read, and why.
        warnings: names of radiographs whose gray values or quality are not what the model knows, and how.

    """

    number: int
    detections: Any
    unreadable: list[tuple[str, str]]
    warnings: list[tuple[str, str]] = field(default_factory=list)


class Engine(Protocol):
    """What has units worked on."""

    def __call__(self, job: Job, units: Iterator[Unit]) -> Iterator[Result]:
        """Yield the results of all units in any order.

        Raises InputError where the work cannot go on, for want of the model, the archive or the machines.
        """
        ...


def model_card(run: Path) -> tuple[list[Category], float]:
    """Return the COCO categories of a model, label k being the k-th, and the lowest score that is shown.

    Raises InputError for what is no model, or a damaged one.
    """
    if is_exported(run):
        exported = read_exported(run)
        return exported.categories, exported.threshold
    predictor, threshold = open_predictor(run)
    return predictor.categories, threshold


def model_hash(run: Path) -> str:
    """Return the SHA-256 of a checkpoint or packaged weights, or that of an exported model's list of hashes.

    Raises InputError for what is no model.
    """
    if is_exported(run):
        return file_hash(run / SUMS)
    from detectors.backbones.checkpoint_file import checkpoint_path  # which needs PyTorch

    return file_hash(checkpoint_path(run))
