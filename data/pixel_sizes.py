"""Pixel sizes out of the headers of radiographs into COCO data, so that defects have sizes in mm."""

from dataclasses import replace
from pathlib import Path

from data.coco import CocoDataset
from data.image_paths import image_path
from data.radiograph import JPEG_SUFFIXES, PLAIN_SUFFIXES, PNG_SUFFIXES, pixel_size_mm
from data.records import ImageRecord

WITHOUT = (*PNG_SUFFIXES, *JPEG_SUFFIXES, *PLAIN_SUFFIXES)  # formats whose headers are not asked


def with_pixel_sizes(dataset: CocoDataset, image_dir: str | Path) -> CocoDataset:
    """Return the data set with `pixel_size_mm` where it has none and the file's header (DICOM, TIFF) states one.

    Nothing that a record states is changed. Raises InputError for a header that cannot be read.
    """
    return replace(dataset, images=[_with_pixel_size(image, image_dir) for image in dataset.images])


def _with_pixel_size(image: ImageRecord, image_dir: str | Path) -> ImageRecord:
    path = image_path(image_dir, image)
    if "pixel_size_mm" in image or path.suffix.lower() in WITHOUT:
        return image
    side = pixel_size_mm(path)
    return image if side is None else {**image, "pixel_size_mm": side}
