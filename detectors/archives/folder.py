"""The folder of an archive's results: its settings, its listing, and its parts, each whole or not there."""

import csv
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from data.archives.archive import list_archive
from data.archives.parts import part_path, part_rows, read_part, write_part
from data.archives.schema import DETECTIONS, LISTING, UNREADABLE, WARNINGS
from data.coco_check import load_json
from data.errors import InputError
from data.files import atomic_path, write_json
from data.locks import FolderLock
from detectors.archives.job import Job, Result, Unit
from detectors.runtime.folder import file_hash

SETTINGS, LISTED, MANIFEST = "archive.json", "listing.json", "manifest.json"
DETECTIONS_FOLDER, LISTING_FOLDER = "detections", "listing"
LISTS = {"unreadable": UNREADABLE, "warnings": WARNINGS}
"""Lists on radiographs: folders of their parts, and files NAME.csv of all."""
FORMAT, VERSION = "radiograph-detectors archive", 2


class ArchiveFolder:
    """The results of one job. Raises InputError where another process, or another job, has the folder.

    Use it in a `with` block: the folder is held against other processes until its end.
    """

    def __init__(self, out: Path, job: Job, part_size: int) -> None:
        if out.exists() and not out.is_dir():
            raise InputError(f"{out}: is a file, where the folder of the results should be; choose another --out")
        out.mkdir(parents=True, exist_ok=True)
        try:
            self._lock = FolderLock(out)
        except BlockingIOError as error:
            raise InputError(
                f"{out}: another prediction is writing there; wait until it ends, or choose another --out"
            ) from error
        self.out, self.job, self.part_size = out, job, part_size
        self.parts = self.radiographs = 0
        """How many parts there are in all and how many radiographs, as soon as `make_listing` is through."""
        try:
            self._claim()
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> "ArchiveFolder":
        return self

    def __exit__(self, *error: object) -> None:
        try:
            if not (self.out / LISTED).is_file() and not (self.out / DETECTIONS_FOLDER).exists():
                # Nothing came of it, such as of an address with a slip: the next start may be another job.
                shutil.rmtree(self.out / LISTING_FOLDER, ignore_errors=True)
                with suppress(OSError):  # which would hide what went wrong before
                    (self.out / SETTINGS).unlink(missing_ok=True)
        finally:
            self._lock.release()

    def _claim(self) -> None:
        """Write the settings, or compare them with those that the folder was begun with."""
        path, now = self.out / SETTINGS, self.job.settings(self.part_size)
        if not path.is_file():
            if (self.out / DETECTIONS_FOLDER).exists():
                raise InputError(f"{self.out}: holds parts without {SETTINGS}; choose another --out")
            write_json(path, {"format": FORMAT, "version": VERSION, **now}, indent=1)
            return
        begun = load_json(path)
        if not isinstance(begun, dict) or (begun.get("format"), begun.get("version")) != (FORMAT, VERSION):
            raise InputError(f"{path}: is none of version {VERSION} of the format; choose another --out")
        for name, value in now.items():
            if begun.get(name) != value:
                raise InputError(
                    f"{self.out}: was begun with {name.replace('_', ' ')} {begun.get(name)}, and now it is {value}; "
                    "give the same to go on, or choose another --out"
                )

    def make_listing(self, on_listed: Callable[[int], object] = lambda count: None) -> None:
        """List the archive, once: a second start has the same parts. `on_listed` is told of each part's radiographs.

        Raises InputError for an archive that is empty or cannot be read.
        """
        path = self.out / LISTED
        if not path.is_file():
            shutil.rmtree(self.out / LISTING_FOLDER, ignore_errors=True)
            self.parts = self.radiographs = 0
            for number, rows in enumerate(_in_parts(list_archive(self.job.archive), self.part_size)):
                write_part(part_path(self.out / LISTING_FOLDER, number), pa.Table.from_pylist(rows, LISTING))
                count = sum(row["rows"] for row in rows)
                self.parts, self.radiographs = number + 1, self.radiographs + count
                on_listed(count)
            if not self.parts:
                raise InputError(f"{self.job.archive.root}: holds no radiographs")
            write_json(path, {"parts": self.parts, "radiographs": self.radiographs})
        listed = load_json(path)
        try:
            self.parts, self.radiographs = int(listed["parts"]), int(listed["radiographs"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: is damaged ({error}); remove it, and the archive is listed again") from error

    def unit(self, number: int) -> Unit:
        """Return one part of the listing. Raises InputError where it is damaged."""
        batches = read_part(part_path(self.out / LISTING_FOLDER, number), LISTING)
        return Unit(number, [row for batch in batches for row in batch.to_pylist()])

    def missing(self) -> list[int]:
        """Return the numbers of the parts that are not there, or not whole."""
        return [number for number in range(self.parts) if self.rows(number) is None]

    def rows(self, number: int) -> int | None:
        """Return the number of radiographs in a part that was written, None where it is not there or not whole."""
        path = part_path(self.out / DETECTIONS_FOLDER, number)
        try:
            return part_rows(path, DETECTIONS) if path.is_file() else None
        except InputError:
            return None

    def write(self, result: Result) -> None:
        """Write the part of a unit; its last file says that all of it is there. Raises OSError as a full disk does."""
        for name, schema in LISTS.items():
            path = part_path(self.out / name, result.number)
            if rows := getattr(result, name):
                write_part(path, pa.table([*zip(*rows, strict=True)], schema=schema))
            else:
                path.unlink(missing_ok=True)
        (self.out / MANIFEST).unlink(missing_ok=True)  # it is written when all parts are there
        write_part(part_path(self.out / DETECTIONS_FOLDER, result.number), result.detections)

    def listed(self, name: str, number: int) -> Iterator[tuple[str, str]]:
        """Yield the radiographs of a part that are on the list `unreadable` or `warnings`, and why."""
        path = part_path(self.out / name, number)
        if path.is_file():
            for batch in read_part(path, LISTS[name]):
                yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)

    def detections(self, number: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a part."""
        return read_part(part_path(self.out / DETECTIONS_FOLDER, number), DETECTIONS)

    def finish(self, record: dict[str, Any]) -> dict[str, Any]:
        """Write the lists of all parts and, last, the manifest with `record`; return the manifest.

        A manifest that is there already, of parts that were all there, stays as it is.
        """
        path = self.out / MANIFEST
        if path.is_file():
            manifest: dict[str, Any] = load_json(path)
            return manifest
        counts = {name: self._write_list(name) for name in LISTS}
        parts = [
            self._part(number, {name: count[number] for name, count in counts.items()}) for number in range(self.parts)
        ]
        totals = {name: sum(part[name] for part in parts) for name in ("radiographs", "detections", *LISTS)}
        manifest = {"format": FORMAT, "version": VERSION, **record, **totals, "parts": parts}
        write_json(path, manifest, indent=1)
        return manifest

    def _write_list(self, name: str) -> list[int]:
        """Write what is on a list in all parts into one file; return the number of lines of each part."""
        counts = []
        with (
            atomic_path(self.out / f"{name}.csv", durable=True) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as stream,
        ):
            table = csv.writer(stream)
            table.writerow(LISTS[name].names)
            for number in range(self.parts):
                rows = [*self.listed(name, number)]
                table.writerows(rows)
                counts.append(len(rows))
        return counts

    def _part(self, number: int, on_lists: dict[str, int]) -> dict[str, Any]:
        path = part_path(self.out / DETECTIONS_FOLDER, number)
        rows = found = 0
        for batch in read_part(path, DETECTIONS, ["scores"]):
            rows += batch.num_rows
            found += len(batch.column("scores").flatten())
        name = path.relative_to(self.out).as_posix()
        return {
            "file": name, "sha256": file_hash(path), "radiographs": rows, "detections": found, **on_lists,
        }  # fmt: skip


def _in_parts(rows: Iterator[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    """Yield rows in lists of up to `size` radiographs and of one shard at most; one row may hold more."""
    part: list[dict[str, Any]] = []
    count = 0
    for row in rows:
        other = part and row.get("row_group") is not None and row["file"] != part[-1]["file"]
        if part and (count + row["rows"] > size or other):
            yield part
            part, count = [], 0
        part.append(row)
        count += row["rows"]
    if part:
        yield part
