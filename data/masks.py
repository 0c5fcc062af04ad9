"""Masks: folders of binary masks to COCO, and COCO segmentations to label maps.

A mask folder holds one binary image a radiograph, 0 = background, 255 (or 1) = defect. A defect of the COCO data is one
8-connected component of a mask.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask
from skimage.measure import label, regionprops

from data.coco import CocoDataset
from data.errors import InputError
from data.limits import check_size
from data.radiograph import find_radiographs, image_record, read_radiograph
from data.records import Annotation, Category, ImageRecord
from data.rle import mask_runs, paint

CATEGORIES: list[Category] = [{"id": 1, "name": "defect"}]
MASK_SUFFIXES = ("_gt", "_mask")
GDXRAY_SERIES = ("W0001_", "W0002_")  # GDXray's welds, and the masks of them
IGNORED = 255
"""Value of a label map where the truth is unknown: neither trained on nor scored."""


def read_mask_folder(images_dir: str | Path, masks_dir: str | Path) -> CocoDataset:
    """Return the radiographs of a folder with the 8-connected components of their masks, as COCO.

    A mask belongs to the radiograph of the same file stem (and sub-folder); it may have `_gt` or `_mask` behind the
    stem, and then lie in the same folder, and GDXray's W0002_0001 belongs to W0001_0001. A radiograph whose mask is
    empty is a negative. Each annotation has a run-length `segmentation`, its tight `bbox` and its `area` in pixels.

    Raises InputError for a mask of another size or with gray values between, a radiograph without a mask, a mask
    without a radiograph, and two files that claim the same place.
    """
    images_dir, masks_dir = Path(images_dir), Path(masks_dir)
    for folder in (images_dir, masks_dir):
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; 'images' and 'masks' are a folder each, or the same one")
    pairs = _pairs(images_dir, masks_dir)
    images: list[ImageRecord] = []
    annotations: list[Annotation] = []
    for image_id, (radiograph, file) in enumerate(pairs, start=1):
        image = image_record(image_id, radiograph, radiograph.relative_to(images_dir).as_posix())
        images.append(image)
        mask = read_mask(file, radiograph, (image["width"], image["height"]))
        for annotation in component_annotations(mask, image_id):
            annotations.append({**annotation, "id": len(annotations) + 1})
    return CocoDataset(images, annotations, CATEGORIES, path=masks_dir, info={"description": "binary masks"})


def _pairs(images_dir: Path, masks_dir: Path) -> list[tuple[Path, Path]]:
    """Return (radiograph, mask) in the order of the radiographs' names."""
    together = images_dir.resolve() == masks_dir.resolve()
    files = find_radiographs([images_dir])
    radiographs = _by_place([file for file in files if not (together and _is_marked(file))], images_dir, marked=False)
    marked = [file for file in find_radiographs([masks_dir]) if not together or _is_marked(file)]
    masks = _by_place(marked, masks_dir, marked=True)
    for place, file in radiographs.items():
        if place not in masks:
            raise InputError(
                f"{file}: no mask of it in {masks_dir} (such as {file.stem}.png or {file.stem}_gt.png); add one, "
                "all black where there is no defect, or take the radiograph out"
            )
    for place, file in masks.items():
        if place not in radiographs:
            raise InputError(f"{file}: a mask without its radiograph {place} in {images_dir}; add it or take it out")
    return [(file, masks[place]) for place, file in radiographs.items()]


def _is_marked(file: Path) -> bool:
    return file.stem.endswith(MASK_SUFFIXES)


def _by_place(files: list[Path], folder: Path, marked: bool) -> dict[str, Path]:
    """Return files by sub-folder and the stem of the radiograph; `marked` where they are masks."""
    places: dict[str, Path] = {}
    for file in files:
        stem = file.stem
        if marked:
            for suffix in MASK_SUFFIXES:
                stem = stem.removesuffix(suffix)
            if stem.startswith(GDXRAY_SERIES[1]):
                stem = GDXRAY_SERIES[0] + stem.removeprefix(GDXRAY_SERIES[1])
        place = (file.parent.relative_to(folder) / stem).as_posix()
        if place in places:
            raise InputError(f"{file}: stands for {place}, as {places[place]} does; keep one of the two")
        places[place] = file
    return places


def read_mask(file: str | Path, radiograph: str | Path, size: tuple[int, int]) -> np.ndarray:
    """Return a binary mask file as bool [H, W], True on defects.

    The two values of the file are 0 and its full scale (255 with 8 bits), or 0 and 1. Raises InputError for any
    other value, and where the mask is not of `size`, the (width, height) of `radiograph`.
    """
    read = read_radiograph(file)
    height, width = read.pixels.shape
    if (width, height) != size:
        raise InputError(
            f"{file}: the mask is {width} x {height}, its radiograph {radiograph} is {size[0]} x {size[1]}; "
            "a mask has a pixel for each of its radiograph's"
        )
    top = 2**read.bit_depth - 1
    values, counts = np.unique(read.levels, return_counts=True)
    defect = 1 if values[-1] == 1 else top
    between = (values != 0) & (values != defect)
    if between.any():
        raise InputError(
            f"{file}: not a binary mask: {int(counts[between].sum())} pixels lie between 0 and {top}, the first value "
            f"is {int(values[between][0])}; threshold it to 0 and {top} and save it without loss (PNG, not JPEG)"
        )
    return read.levels > 0


def component_annotations(mask: np.ndarray, image_id: int) -> Iterator[Annotation]:
    """Yield a COCO annotation, with id 0, for each 8-connected component of a bool mask [H, W]."""
    height, width = mask.shape
    for region in regionprops(label(mask, connectivity=2)):
        top, left, bottom, right = region.bbox
        # Run lengths down the columns, as COCO counts, from the component's own pixels: encoding the whole frame
        # for each component takes minutes on a film of 4,900 columns.
        places = np.sort(region.coords[:, 1] * height + region.coords[:, 0])
        breaks = np.flatnonzero(np.diff(places) > 1)
        starts, ends = places[np.append(0, breaks + 1)], places[np.append(breaks, -1)] + 1
        turns = np.concatenate([[0], np.column_stack([starts, ends]).ravel(), [height * width]])
        runs = coco_mask.frPyObjects({"size": [height, width], "counts": np.diff(turns).tolist()}, height, width)
        yield {
            "id": 0, "image_id": image_id, "category_id": CATEGORIES[0]["id"],
            "bbox": [float(left), float(top), float(right - left), float(bottom - top)],
            "area": float(region.area), "iscrowd": 0,
            "segmentation": {"size": [height, width], "counts": runs["counts"].decode("ascii")},
        }  # fmt: skip


def rasterize(dataset: CocoDataset, image_id: int) -> np.ndarray:
    """Return the label map of an image, uint8 [H, W]: 0 background, a label 1..K, or `IGNORED` in crowd regions.

    Segmentations are polygons or run lengths, compressed or not. Where two overlap, an object hides a crowd region
    and a higher label a lower one. Raises InputError for an annotation without a segmentation (a box is not a mask),
    for one that is malformed or lies far outside of the image, for an image beyond the limit on pixels, and for more
    classes than a label map can hold.
    """
    image = next(image for image in dataset.images if image["id"] == image_id)
    source = dataset.path or "data set"
    check_size(source, image["width"], image["height"], what=f"image (id {image_id})")
    columns = np.zeros((image["width"], image["height"]), dtype=np.uint8)
    layers: list[tuple[bool, int, np.ndarray]] = []
    for annotation in dataset.annotations_of(image_id):
        label = dataset.label_of[annotation["category_id"]]
        if label >= IGNORED:
            raise InputError(
                f"{source}: annotation {annotation['id']} has class {label} of {len(dataset.categories)}; masks hold "
                f"{IGNORED - 1} classes at most: merge some"
            )
        crowd = bool(annotation.get("iscrowd", 0))
        layers.append((not crowd, IGNORED if crowd else label, _annotation_runs(dataset, image, annotation)))
    for _, value, runs in sorted(layers, key=lambda layer: layer[:2]):
        paint(columns, runs, value)
    return np.ascontiguousarray(columns.T)


rasterise = rasterize  # its former name


def _annotation_runs(dataset: CocoDataset, image: ImageRecord, annotation: Annotation) -> np.ndarray:
    """Return an annotation's segmentation as runs int64 [N, 2]."""
    where = f"{dataset.path or 'data set'}: annotation {annotation['id']} of image {image['id']} ({image['file_name']})"
    found = annotation.get("segmentation")
    if not found or (isinstance(found, dict) and found.get("counts") in (None, "", b"", [])):
        raise InputError(
            f"{where} has a box {annotation['bbox']} and no segmentation; give its outline as a polygon or a "
            "run-length mask, or train a detector of boxes"
        )
    try:
        return mask_runs(found, image["height"], image["width"])
    except ValueError as error:
        raise InputError(f"{where}: segmentation: {error}; correct it or write it anew") from error
