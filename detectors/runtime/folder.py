"""The folder of an exported model: its files, what they must hash to, and its card."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from data.errors import InputError
from data.gray_window import GrayWindow
from data.records import Category

CARD = "model_card.json"
GRAPH = "model.onnx"
SUMS = "SHA256SUMS"
VERSION = 2
"""Of the folder's layout. It is raised when an older toolkit could not run what a newer one writes."""

Form = Literal["boxes", "window_map", "pixel_map"]


@dataclass(frozen=True)
class ExportedFolder:
    """An exported model, its files checked.

    Attributes:
        path: the folder.
        name: of the model, such as center_net.
        form: what the graph gives: boxes; a map of windows; a map of pixels.
        precision: float32 or int8.
        categories: COCO categories; label k is the k-th of them.
        window: the gray window of the run.
        threshold: lowest score that is shown.
        decoding: what follows the graph, see `detectors.runtime.boxes` and `detectors.runtime.maps`.
        card: the whole card.

    """

    path: Path
    name: str
    form: Form
    precision: str
    categories: list[Category]
    window: GrayWindow
    threshold: float
    decoding: Mapping[str, Any]
    card: Mapping[str, Any]

    @property
    def graph(self) -> Path:
        """The ONNX file."""
        return self.path / GRAPH


def is_exported(path: str | Path) -> bool:
    """Return whether a path is meant as an exported model: a folder with its card."""
    return (Path(path) / CARD).is_file()


def read_exported(folder: str | Path) -> ExportedFolder:
    """Return an exported model after a check of every file against its hash.

    Raises InputError for a folder that is none, of another version, incomplete or changed.
    """
    folder = Path(folder)
    card = _read_card(folder)
    version = card.get("version")
    if card.get("format") != "radiograph-detectors exported model":
        raise InputError(f"{folder / CARD}: is no card of an exported model; export the run with radiograph export")
    if version != VERSION:
        raise InputError(
            f"{folder}: was exported in version {version!r} of the format, and this toolkit reads version {VERSION}; "
            "export the run again with this toolkit"
        )
    check_sums(folder)
    try:
        window = card["window"]
        trained_on = tuple(window["trained_on"]) if window["trained_on"] else None
        return ExportedFolder(
            folder,
            card["model"]["name"],
            card["form"],
            card["precision"],
            card["categories"],
            GrayWindow(window["kind"], window["low"], window["high"], window["bit_depth"], trained_on),
            float(card["threshold"]),
            card["decoding"],
            card,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder / CARD}: lacks what prediction needs ({error}); export the run again") from error


def write_sums(folder: Path) -> None:
    """Write the hashes of all files of a folder, in the form of `sha256sum`."""
    files = sorted(path for path in folder.iterdir() if path.name != SUMS)
    (folder / SUMS).write_text("".join(f"{file_hash(path)}  {path.name}\n" for path in files), encoding="utf-8")


def check_sums(folder: Path) -> None:
    """Raise InputError unless every file of an exported model is there and is what was exported."""
    path = folder / SUMS
    try:
        lines = [line.split(maxsplit=1) for line in path.read_text(encoding="utf-8").splitlines()]
        stated = {name: digest for digest, name in lines}
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise InputError(f"{path}: is missing or damaged; copy the whole folder anew, or export again") from error
    for name in (CARD, GRAPH):
        if name not in stated:
            raise InputError(f"{path}: does not list {name}; copy the whole folder anew, or export again")
    for name, digest in stated.items():
        file = folder / Path(name).name
        if not file.is_file():
            raise InputError(f"{file}: is missing from the exported model; copy the whole folder anew, or export again")
        if file_hash(file) != digest:
            raise InputError(
                f"{file}: is not the file that was exported (its SHA-256 differs from {SUMS}); copy the whole folder "
                "anew, or export again"
            )


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _read_card(folder: Path) -> dict[str, Any]:
    path = folder / CARD
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); give the folder of an exported model") from error
    if not isinstance(card, dict):
        raise InputError(f"{path}: is no card of an exported model; export the run with radiograph export")
    return card
