"""What a run was trained on, as far as its files are still there: whether a test is on parts it has not seen."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from data.errors import InputError
from data.image_paths import existing_image
from detectors.backbones.weights import read_checkpoint
from detectors.config.experiment import SourceConfig
from detectors.config.files import check_config
from detectors.config.sources import load_training_source

PUBLISHED = ("none", "imagenet", "coco")  # starting weights that have seen no radiograph


@dataclass
class TrainingData:
    """Real radiographs that a run was trained on, those of the runs it started from included.

    `files` are the radiographs; `annotated` those of them whose annotations were read, to learn from or to paint the
    defects over. `unknown` names each source that could not be read any more, in words.
    """

    files: list[Path] = field(default_factory=list)
    annotated: set[Path] = field(default_factory=set)
    unknown: list[str] = field(default_factory=list)

    def of_series(self, name: str) -> list[Path]:
        """Return the radiographs of a series: they lie in a folder of its name, or their names begin with it."""
        return [file for file in self.files if file.parent.name == name or file.stem.startswith(f"{name}_")]

    def copies_of(self, files: Iterable[Path]) -> list[Path]:
        """Return which of `files` are among the radiographs, byte by byte, whatever they are called."""
        sizes: dict[int, list[Path]] = {}
        for file in self.files:
            sizes.setdefault(file.stat().st_size, []).append(file)
        digests: dict[int, set[bytes]] = {}
        found = []
        for file in files:
            size = file.stat().st_size
            if size in sizes:
                if size not in digests:
                    digests[size] = {_digest(known) for known in sizes[size]}
                if _digest(file) in digests[size]:
                    found.append(file)
        return found


def training_data(run: Path) -> TrainingData:
    """Return what a run (its folder, or a checkpoint) was trained on. Raises InputError where it is no run."""
    found = TrainingData()
    visited: set[Path] = set()
    while run.resolve() not in visited:
        visited.add(run.resolve())
        config = check_config(read_checkpoint(run)["config"])
        for source in config.data.train:
            _add_source(found, source)
        start = getattr(config.model, "weights", "none")
        if start in PUBLISHED:
            break
        if not Path(start).exists():
            found.unknown.append(f"starting weights {start}")
            break
        run = Path(start)
    return found


def _add_source(found: TrainingData, source: SourceConfig) -> None:
    if source.origin.simulated:
        return
    if source.origin.content != "radiographs":
        found.unknown.append(f"{source.origin.content} {source.location}")
        return
    try:
        dataset, folder = load_training_source(source)
    except InputError as error:
        found.unknown.append(str(error))
        return
    # Crowd regions are places left out of training, as `detectors.experiments.adaptation` does: nobody labeled them.
    annotated = {annotation["image_id"] for annotation in dataset.annotations if not annotation.get("iscrowd", 0)}
    for image in dataset.images:
        try:
            file = existing_image(folder, image)
        except InputError as error:
            found.unknown.append(str(error))
            continue
        found.files.append(file)
        if image["id"] in annotated:
            found.annotated.add(file)


def _digest(file: Path) -> bytes:
    return hashlib.sha256(file.read_bytes()).digest()
