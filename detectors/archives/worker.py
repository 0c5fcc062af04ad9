"""A model that works on units of an archive: what every process and every actor of a cluster does."""

import faulthandler
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from data.archives.archive import ListedPlace
from data.archives.parts import ROWS, box_rows, read_group
from data.archives.places import LostError, Store
from data.archives.schema import DETECTIONS, RADIOGRAPHS
from data.errors import InputError
from data.gray_notes import GrayNotes
from data.gray_window import GrayWindow
from data.held_file import AnyFile, HeldFile
from data.image_quality.limits import QualityNotes
from data.limits import LIMIT_VARIABLE
from data.radiograph import Radiograph
from detectors.archives.job import Job, Result, Unit
from detectors.runs.predict_files import ahead
from detectors.runs.reading import read_sized
from detectors.runtime.opening import open_predictor

FETCHING = 4  # threads that fetch files of a store; most of the time is spent waiting for them
Fetched = tuple[str, AnyFile | InputError, tuple[int, int] | None]  # name, file, stated size
Read = tuple[str, Radiograph | InputError]


class Worker:
    """A model, loaded once, with one thread of the processor: results do not depend on how many cores there are.

    Raises InputError for a model or an archive that cannot be opened.
    """

    def __init__(self, job: Job) -> None:
        # OpenVINO gives a process the use of AMX, whose registers the small stack of faulthandler does not hold.
        faulthandler.disable()
        os.environ[LIMIT_VARIABLE] = str(job.most_samples)
        self.job = job
        self.place = job.archive.place()
        self.remote = isinstance(self.place, Store | ListedPlace)
        window = GrayWindow(job.window) if job.window else None  # type: ignore[arg-type]
        self.predictor, _ = open_predictor(job.run, window, job.bit_depth, job.max_detections, threads=1)

    def __call__(self, unit: Unit) -> Result:
        """Return what the model finds in a unit. Raises LostError where the archive is gone."""
        rows: list[dict[str, Any]] = []
        unreadable: list[tuple[str, str]] = []
        warnings: list[tuple[str, str]] = []
        failed = 0
        for name, radiograph in self._radiographs(unit):
            if isinstance(radiograph, LostError):
                raise radiograph
            if isinstance(radiograph, InputError):
                unreadable.append((name, str(radiograph)))
                continue
            try:
                found = self.predictor.find(radiograph, False).detections
            except (InputError, MemoryError, RuntimeError) as error:
                reason = f"{name}: the model cannot work on it ({' '.join(str(error).split())[:200]})"
                unreadable.append((name, reason))
                failed += 1
                continue
            best_first = np.argsort(-found["scores"], kind="stable")
            height, width = radiograph.pixels.shape
            kept = {key: found[key][best_first] for key in ("boxes", "scores", "labels")}
            rows.append({"file": name, "width": width, "height": height, **kept})
            warnings += [(name, line) for line in self._warnings(name, radiograph)]
        if failed > 1 and not rows:
            raise InputError(f"{unreadable[-1][1]}, nor on the {failed - 1} before: not the radiographs are at fault")
        return Result(unit.number, box_rows(DETECTIONS, rows), unreadable, warnings)

    def _warnings(self, name: str, radiograph: Radiograph) -> list[str]:
        """Return what prediction would warn of, were it the only radiograph."""
        notes, quality = GrayNotes(self.predictor.window.trained_on), QualityNotes(self.job.limits)
        notes.add(name, radiograph)
        quality.add(name, radiograph.pixels)
        return notes.lines() + quality.lines()

    def _radiographs(self, unit: Unit) -> Iterator[Read]:
        """Yield the radiographs of a unit in order, or why one cannot be read."""
        if self.job.archive.kind == "shards":
            for row in unit.rows:
                if row["fault"] is None:
                    # Their bytes are in memory: a thread that decodes ahead would only take turns with the model.
                    yield from map(self._read, self._stored(row["file"], row["row_group"]))
                else:
                    yield row["file"], InputError(row["fault"])
            return
        # Files of a store are fetched by several threads, as they are waited for; one thread decodes.
        files = ahead(self._fetched, unit.rows, FETCHING) if self.remote else map(self._fetched, unit.rows)
        yield from ahead(self._read, files)

    def _fetched(self, row: dict[str, Any]) -> Fetched:
        name, size = row["file"], None if row["width"] is None else (row["width"], row["height"])
        if row["fault"] is not None:
            return name, InputError(f"{name}: {row['fault']}"), size
        try:
            return name, self.place.file(name), size
        except InputError as error:
            return name, error, size

    def _read(self, fetched: Fetched) -> Read:
        name, file, size = fetched
        if isinstance(file, InputError):
            return name, file
        try:
            return name, read_sized(file, self.predictor.window, size)
        except InputError as error:
            return name, error
        except MemoryError as error:
            return name, InputError(f"{name}: takes more memory than there is ({error})")

    def _stored(self, shard: str, group: int) -> Iterator[Fetched]:
        """Yield the names and bytes of a row group, or why it is damaged.

        Raises LostError where the shards are gone, and for one of a store that cannot be read: it may be the network.
        """
        try:
            where = f"{self.place.address}/{shard}"
            for batch in read_group(self.place.open(shard), where, group, RADIOGRAPHS, ROWS // 8):
                for name, content in zip(batch.column("file"), batch.column("image"), strict=True):
                    yield _held(name.as_py(), content.as_py())
        except InputError as error:
            self.place.check()
            if isinstance(self.place, Store) or not isinstance(error.__cause__, pa.ArrowException | OSError):
                raise LostError(str(error)) from error
            yield f"{shard} (row group {group})", error, None


def _held(name: str | None, content: bytes | None) -> Fetched:
    if name is None or content is None:
        return str(name), InputError(f"{name}: the shard holds no bytes or no name for it; write the shard anew"), None
    return name, HeldFile(name, content), None
