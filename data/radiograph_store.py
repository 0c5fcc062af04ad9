"""The radiographs of a COCO data set, checked, read, windowed and kept: what all training data sets hold."""

from pathlib import Path

import numpy as np

from data.coco import CocoDataset
from data.errors import InputError
from data.gray_window import GrayWindow
from data.image_paths import existing_image
from data.radiograph import Radiograph, read_radiograph
from data.records import ImageRecord


class RadiographStore:
    """The images of a data set that samples are drawn from, by position.

    Args:
        dataset: COCO data.
        image_dir: folder that file names start from.
        window: what makes gray values of a radiograph's levels; None by the full depth.
        keep_negatives: whether images without an annotation are among them (crowds do not count).

    Raises InputError here for an image file that is missing or outside of the folder, and for no image at all; and on
    reading, for a file that is unreadable or whose size is not the one recorded.

    """

    def __init__(
        self,
        dataset: CocoDataset,
        image_dir: str | Path,
        window: GrayWindow | None = None,
        keep_negatives: bool = True,
    ) -> None:
        self.window = window
        self.images: list[ImageRecord] = [
            image
            for image in dataset.images
            if keep_negatives or any(not a.get("iscrowd", 0) for a in dataset.annotations_of(image["id"]))
        ]
        if not self.images:
            raise InputError(
                f"{dataset.path or image_dir}: no image to draw from; give a data set with images"
                + ("" if keep_negatives else ", or keep the negatives")
            )
        self.paths = [existing_image(image_dir, image) for image in self.images]
        self._kept: list[tuple[np.ndarray, int]] | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def keep_all(self) -> None:
        """Read all radiographs now and keep them in memory, which forked workers share.

        They take 1 or 2 bytes a pixel; no value changes.
        """
        self._kept = [self.levels(position) for position in range(len(self))]

    def shape(self, position: int) -> tuple[int, int]:
        """Return (height, width) in pixels, as recorded."""
        return self.images[position]["height"], self.images[position]["width"]

    def read(self, position: int) -> Radiograph:
        """Return a radiograph, its gray values by the window, its size checked."""
        image, path = self.images[position], self.paths[position]
        radiograph = read_radiograph(path, window=self.window)
        height, width = radiograph.pixels.shape
        if (height, width) != self.shape(position):
            raise InputError(
                f"{path}: image {image['id']} has {width} x {height} pixels, but the data set"
                f" says {image['width']} x {image['height']}; correct its width and height"
            )
        return radiograph

    def pixels(self, position: int) -> np.ndarray:
        """Return a radiograph after the window, float32 [H, W] in [0, 1]; not to be written into."""
        if self._kept is not None:
            return restore(*self._kept[position])
        return self.read(position).pixels

    def levels(self, position: int) -> tuple[np.ndarray, int]:
        """Return the same as whole gray levels and their full scale, as `compact` does."""
        if self._kept is not None:
            return self._kept[position]
        radiograph = self.read(position)
        return compact_scale(radiograph.pixels, radiograph.full_scale)


def compact(pixels: np.ndarray, bit_depth: int) -> tuple[np.ndarray, int]:
    """Return gray values as integers and their full scale; as they are and 1 if that would change them."""
    return compact_scale(pixels, 2**bit_depth - 1)


def compact_scale(pixels: np.ndarray, full: int) -> tuple[np.ndarray, int]:
    """Do the same for gray values that are whole multiples of 1 / `full`."""
    levels = np.rint(pixels * full).astype(np.uint8 if full <= 255 else np.uint16)
    return (levels, full) if np.array_equal(restore(levels, full), pixels) else (pixels, 1)


def restore(levels: np.ndarray, full: int) -> np.ndarray:
    """Undo `compact`."""
    return levels if full == 1 else levels.astype(np.float32) / np.float32(full)
