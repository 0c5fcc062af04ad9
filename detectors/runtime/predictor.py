"""An exported model with its preprocessing: the same interface to prediction as a run's."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.gray_window import GrayWindow
from data.radiograph import Radiograph, read_radiograph
from detectors.caps import ask_for_detections
from detectors.runs.predict_files import Findings
from detectors.runtime.boxes import BoxDecoder, Found
from detectors.runtime.folder import ExportedFolder, read_exported
from detectors.runtime.session import (
    Engine,
    Session,
    as_feeds,
    available_memory,
    installed_engine,
    open_session,
    usable_threads,
)

MEMORY_SHARE = 0.9  # of what is available, that one radiograph may take
MOST_LANES = 8  # radiographs at once


class ExportedPredictor:
    """An exported model, ready to predict.

    Args:
        folder: of the exported model.
        window: another gray window than the run's.
        bit_depth: bits of a stored gray level, where the files do not state them rightly.
        max_detections: raises the most detections of a radiograph, see `detectors.caps`.
        engine: what runs the graph; by default what it was exported for, or another that is installed.
        threads: of the processor; by default all that the process may use.

    Raises InputError for a folder that is none, incomplete, changed or of another version, and for an engine that is
    not installed.

    """

    def __init__(
        self,
        folder: str | Path,
        window: GrayWindow | None = None,
        bit_depth: int | None = None,
        max_detections: int | None = None,
        engine: Engine | None = None,
        threads: int | None = None,
    ) -> None:
        self.folder: ExportedFolder = read_exported(folder)
        self.categories = self.folder.categories
        own = self.folder.window
        chosen = own if window is None else replace(window, bit_depth=own.bit_depth, trained_on=own.trained_on)
        self.window = chosen.with_bit_depth(bit_depth)
        self.engine = engine or installed_engine(self.folder.card.get("runtime", "onnxruntime"))
        self.threads = threads
        self.lanes = 1
        self.session = open_session(self.folder.graph, self.engine, threads)
        self._large = threading.Lock()
        decoding = self.folder.decoding
        self.model: Any
        if self.folder.form == "boxes":
            self.model = BoxDecoder(self._run, decoding)
        else:
            from detectors.runtime.maps import PixelMapDecoder, WindowMapDecoder  # which read a configuration

            kinds = {"window_map": WindowMapDecoder, "pixel_map": PixelMapDecoder}
            self.model = kinds[self.folder.form](lambda images: self._run(images, {})[0], decoding)
        ask_for_detections(self.model, max_detections)

    def __call__(self, radiograph: Path | Radiograph | NDArray[np.float32]) -> Found:
        """Return `boxes` [M, 4], `scores` [M] and `labels` [M] of one radiograph, in its own pixels.

        `radiograph` is a file; or what `read_radiograph` read through `window`; or gray values float32 [H, W] in
        [0, 1] by the full bit depth, which the window is applied to.
        """
        return self.find(radiograph).detections

    def find(self, radiograph: Path | Radiograph | NDArray[np.float32], with_map: bool = True) -> Findings:
        """Return the same detections, and the heat map that they come from.

        Raises InputError for a file that is no radiograph, MemoryError for one that there is no memory for.
        """
        if isinstance(radiograph, np.ndarray):
            pixels = self.window.of_pixels(radiograph)
        elif isinstance(radiograph, Radiograph):
            pixels = radiograph.pixels
        else:
            pixels = read_radiograph(radiograph, window=self.window).pixels
        return self.in_pixels(pixels, with_map)

    def prepare_for(self, count: int) -> int:
        """Get ready for so many radiographs, and return how many threads may call `find` at the same time.

        Each radiograph then has one thread of the processor: to share out radiographs leaves none of them waiting, as
        to share out the parts of one does. For one radiograph nothing changes.
        """
        lanes = min(self.threads or usable_threads() or 1, count, MOST_LANES)
        if lanes != self.lanes:
            self.session = open_session(self.folder.graph, self.engine, 1 if lanes > 1 else self.threads, lanes)
            self.lanes = lanes
        return lanes

    @contextmanager
    def using(self, session: Session) -> Iterator[None]:
        """Answer by another session for a while: of another graph with the same inputs, or one that looks on."""
        own, self.session = self.session, session
        try:
            yield
        finally:
            self.session = own

    def in_pixels(self, pixels: NDArray[np.float32], with_map: bool = True) -> Findings:
        """Return what the model finds in gray values float32 [H, W] after the window."""
        found, seen = self.model(pixels)
        if self.folder.form == "boxes":
            return Findings(found, features=seen)
        return Findings(found, seen if with_map else None)

    def _run(self, images: np.ndarray, counts: Mapping[str, int]) -> list[np.ndarray]:
        """Run the graph, unless it would take more memory than there is, in which case a process may just be killed."""
        wanted, available = images.size * self.folder.card["bytes_per_pixel"], available_memory()
        if available is None or wanted <= MEMORY_SHARE * available / self.lanes:
            return self.session.run(as_feeds(images, counts))
        with self._large:  # one at a time, as others may take all that is left
            available = available_memory() or available
            if wanted > MEMORY_SHARE * available:
                raise MemoryError(f"about {wanted / 1e9:.1f} GB, of {available / 1e9:.1f} GB that are free")
            return self.session.run(as_feeds(images, counts))
