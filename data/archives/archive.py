"""What an archive is, by what the user gave: a folder, a list, a COCO file, a store, or shards of radiographs."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from data.archives.coco_stream import stream_records
from data.archives.places import SHARD, Confined, Folder, LostError, Place, Store, is_address, open_place
from data.errors import InputError
from data.file_tree import sorted_strings
from data.image_paths import confined_path

LIST, COCO = ".txt", ".json"
NO_NAME = "its name is not Unicode; rename it"


@dataclass(frozen=True)
class Archive:
    """Radiographs of any number.

    Attributes:
        kind: how they are listed: by the folder or store itself, by a text file, by a COCO file, or in Parquet shards.
        root: folder or address that their names start from.
        listed: the list, COCO file or single shard; None without one.

    """

    kind: Literal["tree", "list", "coco", "shards"]
    root: str
    listed: str | None = None

    def place(self) -> Place:
        """Return where the files lie. Raises InputError for an address that cannot be opened."""
        if self.kind == "list":
            return ListedPlace(self.root)
        if self.kind == "coco" and not is_address(self.root):
            return Confined(self.root)
        return open_place(self.root)


class ListedPlace:
    """Where the lines of a list lead: relative to a folder, to absolute paths, or to addresses of their own."""

    def __init__(self, root: str) -> None:
        self.address = root
        self.home = Folder(root)
        self.stores: dict[str, Store] = {}

    def names(self) -> Iterator[str]:
        """Yield the names of all radiographs in the list's folder."""
        return self.home.names()

    def shards(self) -> list[str]:
        """Return the names of the Parquet files in the list's folder."""
        return self.home.shards()

    def file(self, name: str) -> Any:
        """Return a file. Raises InputError where it cannot be read, LostError where its bucket is gone."""
        return self._home_of(name)[0].file(self._home_of(name)[1])

    def open(self, name: str) -> Any:
        """Return what pyarrow opens. Raises as `file`."""
        return self._home_of(name)[0].open(self._home_of(name)[1])

    def check(self) -> None:
        """Raise LostError unless the list's folder is there."""
        self.home.check()

    def _home_of(self, name: str) -> tuple[Place, str]:
        if not is_address(name):
            return self.home, name
        scheme, _, path = name.partition("://")
        bucket, _, rest = path.partition("/")
        address = f"{scheme}://{bucket}"
        if address not in self.stores:
            self.stores[address] = Store(address)
        return self.stores[address], rest


def is_archive(text: str) -> bool:
    """Return whether what was given can be nothing but an archive: an address, a list, a COCO file or shards."""
    if is_address(text):
        return True
    path = Path(text)
    if path.is_dir():
        return next(path.glob(f"[!.]*{SHARD}"), None) is not None
    return path.suffix.lower() in (LIST, COCO, SHARD) and path.is_file()


def find_archive(text: str, images: str | None = None) -> Archive:
    """Return the archive that the user means, after a look whether it is there.

    Args:
        text: a folder, an address, a list (.txt), a COCO file (.json) or a shard (.parquet).
        images: folder or address of a COCO file's images; by default the folder that it lies in.

    Raises InputError for what is none of these, and for a folder or store that is missing or refuses access.

    """
    path = Path(text)
    if not is_address(text) and path.suffix.lower() in (LIST, COCO) and path.is_file():
        listed_kind: Literal["coco", "list"] = "coco" if path.suffix.lower() == COCO else "list"
        if images is not None and listed_kind == "list":
            raise InputError(f"--images {images}: is for a COCO file; the lines of {text} say where the files lie")
        archive = Archive(listed_kind, images or str(path.parent), str(path))
        archive.place().check()
        return archive
    if images is not None:
        raise InputError(f"--images {images}: is for a COCO file, and {text} is none")
    if text.lower().endswith(SHARD):
        root, _, name = text.rpartition("/") if is_address(text) else (str(path.parent), "", path.name)
        open_place(root).open(name)  # raises where it is not there
        return Archive("shards", root, name)
    if not is_address(text) and not path.exists():
        raise InputError(f"{text}: no such file or folder")
    if path.is_file():
        raise InputError(f"{text}: an archive is a folder, a list (.txt), a COCO file (.json) or shards ({SHARD})")
    place = open_place(text)
    place.check()
    return Archive("shards" if place.shards() else "tree", text)


def list_archive(archive: Archive) -> Iterator[dict[str, Any]]:
    """Yield the rows of an archive's listing, see `data.archives.schema.LISTING`, in an order that stays the same.

    A radiograph that is listed twice counts once. Raises InputError.
    """
    if archive.kind == "shards":
        yield from _shard_rows(archive)
    elif archive.kind == "coco":
        yield from _coco_rows(archive)
    elif archive.kind == "list":
        yield from map(_row, _listed_names(archive))
    else:
        yield from map(_row, archive.place().names())


def _row(name: str, **others: Any) -> dict[str, Any]:
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        return {"file": shown, "rows": 1, "fault": NO_NAME}
    return {"file": name, "rows": 1, **others}


def _listed_names(archive: Archive) -> Iterator[str]:
    """Yield the lines of a list, sorted, each once."""
    path = Path(str(archive.listed))
    last = None
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
            for name in sorted_strings(text for line in lines if (text := line.rstrip("\r\n"))):
                if name != last:
                    yield name
                last = name
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


def _coco_rows(archive: Archive) -> Iterator[dict[str, Any]]:
    path = Path(str(archive.listed))
    seen = False
    for number, image in enumerate(stream_records(path, "images")):
        seen = True
        identity, name = image.get("id"), image.get("file_name")
        size = image.get("width"), image.get("height")
        if not all(isinstance(v, int) and 0 <= v < 2**31 for v in size) or not isinstance(identity, int) or not name:
            raise InputError(f"{path}: image {identity} ({number} of the list) lacks a valid id, file_name or size")
        row = _row(str(name), width=size[0], height=size[1], image_id=identity)
        if not is_address(archive.root) and "fault" not in row:
            try:
                confined_path(archive.root, str(name), identity)
            except InputError as error:
                row["fault"] = str(error)
        yield row
    if not seen:
        raise InputError(f"{path}: the list 'images' is empty")


def _shard_rows(archive: Archive) -> Iterator[dict[str, Any]]:
    from data.archives.parts import row_groups  # which needs pyarrow
    from data.archives.schema import RADIOGRAPHS

    place = archive.place()
    for name in [archive.listed] if archive.listed else place.shards():
        try:
            groups = row_groups(place.open(name), f"{archive.root}/{name}", RADIOGRAPHS)
        except LostError:
            raise
        except InputError as error:
            yield {"file": name, "rows": 1, "fault": str(error)}
            continue
        for group, rows in enumerate(groups):
            yield {"file": name, "row_group": group, "rows": rows}
