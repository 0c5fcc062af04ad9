"""GDXray's folders (Mery et al. 2015) to COCO.

On disk: `ROOT/<Group>/<Xssss>/<Xssss>_<nnnn>.png`, and in a series' folder `ground_truth.txt` with one row a
defect in MATLAB's floating point: `image_id x1 x2 y1 y2`, or nine columns `image_id x1 y1 ... x4 y4` (an
oriented box), or three, `image_id x y` (a point). A radiograph without a row has no defect; a series without
a file has none at all.

A weld defect is counted once. Where the series W0002 is there, whose images are masks of the radiographs of
W0001, each 8-connected component of a mask is one annotation, and W0001's own boxes are not read;
`weld_boxes=True` reads the boxes instead, for a second file. W0003 is not annotated: its radiographs are no
negatives, so they come alone, by `read_unlabeled`.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.boxes import clip_box, has_area
from data.coco import CocoDataset
from data.errors import InputError
from data.masks import CATEGORIES, component_annotations, read_mask
from data.radiograph import radiograph_size
from data.records import Annotation, ImageRecord

GROUP_FOLDERS = {"castings": "Castings", "welds": "Welds"}
GROUND_TRUTH = "ground_truth.txt"
# Python's float also takes 1_0, "infinity" and digits of other scripts.
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")
MASKED_SERIES, MASK_SERIES, UNLABELED_SERIES = "W0001", "W0002", "W0003"


@dataclass
class SeriesSummary:
    """What one series gave: counts of radiographs, boxes, and what was fixed or left out on the way.

    `swapped`: boxes whose x1 > x2 or y1 > y2 were put right; `clipped`: boxes cut at the frame; `dropped`:
    boxes without area after that; `points`: three-column rows, kept in the image record, not as boxes.
    `source` says what the boxes are made of: "boxes", "masks", or "none" without any annotation file.
    """

    series: str
    source: str = "none"
    radiographs: int = 0
    without_defects: int = 0
    boxes: int = 0
    swapped: int = 0
    clipped: int = 0
    dropped: int = 0
    points: int = 0


def read_gdxray(root: str | Path, group: str, weld_boxes: bool = False) -> CocoDataset:
    """Return the annotated radiographs of a group, "castings" or "welds", as COCO.

    Image records hold `file_name` relative to `root`, `series` and `number`, and `points` [[x, y], ...] where
    there are any; annotations have `bbox` in pixels clipped to the frame, oriented boxes and masks a
    `segmentation` too. Raises InputError naming the file and line.
    """
    return read_gdxray_summary(root, group, weld_boxes)[0]


def read_gdxray_summary(root: str | Path, group: str, weld_boxes: bool = False,
                        ) -> tuple[CocoDataset, list[SeriesSummary]]:  # fmt: skip
    """Return the data set of `read_gdxray`, and a summary of each series."""
    folders = _series_folders(root, group)
    masks = folders.pop(MASK_SERIES, None)
    folders.pop(UNLABELED_SERIES, None)
    if not folders:
        raise InputError(f"{Path(root) / GROUP_FOLDERS[group]}: no annotated series")
    images: list[ImageRecord] = []
    annotations: list[Annotation] = []
    summaries = []
    for name, folder in folders.items():
        records = _image_records(Path(root), folder, first_id=len(images) + 1)
        images += records.values()
        summary = SeriesSummary(name, radiographs=len(records))
        if name == MASKED_SERIES and masks and not weld_boxes:
            found = _mask_annotations(records, masks, summary)
        else:
            found = _box_annotations(records, _ground_truth(folder), summary)
        series = list(found)
        summary.boxes = len(series)
        summary.without_defects = len(records) - len({a["image_id"] for a in series})
        annotations += series
        summaries.append(summary)
    for k, annotation in enumerate(annotations, start=1):
        annotation["id"] = k
    info = {"description": f"GDXray {group}", "source": "Mery et al. 2015, J. Nondestruct. Eval. 34:42"}
    return CocoDataset(images, annotations, CATEGORIES, info=info), summaries


def read_series(folder: str | Path) -> CocoDataset:
    """Return one series as COCO: `folder/<name>_<nnnn>.png`, where the name is the folder's own, and its boxes.

    The folder may lie anywhere. Records are those of `read_gdxray`, but `file_name` starts from the folder itself;
    without a ground_truth.txt no radiograph has a defect. Raises InputError naming the file and line.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give one series, a folder such as GDXRAY/Castings/C0001")
    records = _image_records(folder, folder.resolve(), first_id=1)
    found = list(_box_annotations(records, folder / GROUND_TRUTH, SeriesSummary(folder.name)))
    for k, annotation in enumerate(found, start=1):
        annotation["id"] = k
    return CocoDataset(list(records.values()), found, CATEGORIES, info={"description": f"series {folder.name}"})


def read_unlabeled(root: str | Path) -> CocoDataset:
    """Return the weld radiographs of W0003, which nobody annotated: to predict on, not to train or evaluate with."""
    folder = _series_folders(root, "welds").get(UNLABELED_SERIES)
    if folder is None:
        raise InputError(f"{Path(root) / GROUP_FOLDERS['welds'] / UNLABELED_SERIES}: no such folder")
    images = list(_image_records(Path(root), folder, first_id=1).values())
    return CocoDataset(images, [], CATEGORIES, info={"description": "GDXray welds, not annotated"})


def _series_folders(root: str | Path, group: str) -> dict[str, Path]:
    """Return the folders of a group's series by name, in order."""
    if group not in GROUP_FOLDERS:
        raise InputError(f"unknown group {group!r}; expected {' or '.join(GROUP_FOLDERS)}")
    folder = Path(root) / GROUP_FOLDERS[group]
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give GDXray's root, which holds {GROUP_FOLDERS[group]}/")
    pattern = re.compile(rf"{GROUP_FOLDERS[group][0]}\d{{4}}")
    series = {path.name: path for path in sorted(folder.iterdir()) if path.is_dir() and pattern.fullmatch(path.name)}
    if not series:
        raise InputError(f"{folder}: no series such as {GROUP_FOLDERS[group][0]}0001")
    return series


def _image_records(root: Path, folder: Path, first_id: int) -> dict[int, ImageRecord]:
    """Return a series' image records by number, in the order of the numbers."""
    numbered: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        match = re.fullmatch(rf"{folder.name}_([0-9]{{1,9}})\.png", path.name, re.IGNORECASE)
        if not match:
            continue
        number = int(match[1])
        if number in numbered:
            raise InputError(f"{path}: radiograph {number} of {folder.name}, as {numbered[number].name} is; keep one")
        numbered[number] = path
    if not numbered:
        raise InputError(f"{folder}: no radiographs such as {folder.name}_0001.png")
    records: dict[int, ImageRecord] = {}
    for k, (number, path) in enumerate(sorted(numbered.items()), start=first_id):
        width, height = radiograph_size(path)
        records[number] = {"id": k, "file_name": path.relative_to(root).as_posix(), "width": width,
                           "height": height, "series": folder.name, "number": number}  # fmt: skip
    return records


def _ground_truth(folder: Path) -> Path:
    """Return the file of a series' annotations, in whatever case its name is written; it need not be there."""
    found = sorted(path for path in folder.iterdir() if path.name.lower() == GROUND_TRUTH)
    if len(found) > 1:
        raise InputError(f"{found[1]}: annotations of {folder.name}, as {found[0].name} are; keep one")
    return found[0] if found else folder / GROUND_TRUTH


def _box_annotations(records: dict[int, ImageRecord], file: Path, summary: SeriesSummary) -> Iterator[Annotation]:
    """Yield the annotations of a ground_truth.txt; points go into the image records."""
    if not file.is_file():
        return
    summary.source = "boxes"
    for line, (number, values) in _rows(file):
        image = records.get(number)
        if image is None:
            raise InputError(f"{file}, line {line}: no radiograph {file.parent.name}_{number:04d}.png")
        if len(values) == 2:
            image.setdefault("points", []).append(values)
            summary.points += 1
            continue
        if len(values) == 4:
            x1, x2, y1, y2 = values
            summary.swapped += x1 > x2 or y1 > y2
            xs, ys = np.array(sorted((x1, x2))), np.array(sorted((y1, y2)))
        else:
            xs, ys = np.array(values[0::2]), np.array(values[1::2])
        annotation = _annotation(image, xs, ys, summary)
        if annotation is not None:
            yield annotation


def _rows(file: Path) -> Iterator[tuple[int, tuple[int, list[float]]]]:
    """Yield line number, image number and coordinates of each row of a ground_truth.txt."""
    for line, text in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if not text.strip():
            continue
        words = text.split()
        values = [float(word) if _NUMBER.fullmatch(word) else math.nan for word in words]
        if len(values) not in (3, 5, 9) or not all(map(math.isfinite, values)):
            raise InputError(f"{file}, line {line}: {text.strip()!r} is not image_id and x1 x2 y1 y2 "
                             "(nor four corners, nor one point): 5, 9 or 3 finite numbers")  # fmt: skip
        number = round(values[0])
        if abs(values[0] - number) > 1e-3:
            raise InputError(f"{file}, line {line}: image_id {values[0]} is not a whole number")
        yield line, (number, values[1:])


def _annotation(image: ImageRecord, xs: np.ndarray, ys: np.ndarray, summary: SeriesSummary) -> Annotation | None:
    """Return the annotation around the points xs, ys (two corners, or four of an oriented box), clipped.

    An oriented box keeps its corners as segmentation, and its area is theirs. None when nothing is left.
    """
    inside_x, inside_y = np.clip(xs, 0, image["width"]), np.clip(ys, 0, image["height"])
    leaves = bool((inside_x != xs).any() or (inside_y != ys).any())
    if len(xs) == 4:
        inside_x, inside_y = _around(inside_x, inside_y)
    x, y = float(inside_x.min()), float(inside_y.min())
    width, height = float(inside_x.max()) - x, float(inside_y.max()) - y
    area = width * height
    if len(xs) == 4:
        area = _polygon_area(inside_x, inside_y)
    if not has_area(clip_box([x, y, width, height], image["width"], image["height"])) or area <= 0:
        summary.dropped += 1
        return None
    summary.clipped += leaves
    annotation: Annotation = {"id": 0, "image_id": image["id"], "category_id": 1, "bbox": [x, y, width, height],
                  "area": area, "iscrowd": 0}  # fmt: skip
    if len(xs) == 4:
        annotation["segmentation"] = [np.column_stack([inside_x, inside_y]).ravel().tolist()]
    return annotation


def _around(xs: np.ndarray, ys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return four corners in an order that goes around them; as they are where they do already."""
    order = np.argsort(np.arctan2(ys - ys.mean(), xs - xs.mean()), kind="stable")
    around = xs[order], ys[order]
    return (xs, ys) if _polygon_area(xs, ys) >= _polygon_area(*around) * (1 - 1e-9) else around


def _polygon_area(xs: np.ndarray, ys: np.ndarray) -> float:
    """Return the area inside a polygon by the shoelace formula, in pixels squared."""
    return abs(float(xs @ np.roll(ys, -1) - ys @ np.roll(xs, -1))) / 2


def _mask_annotations(records: dict[int, ImageRecord], folder: Path, summary: SeriesSummary) -> Iterator[Annotation]:
    """Yield one annotation for each 8-connected component of the masks that belong to these radiographs."""
    summary.source = "masks"
    for number, image in records.items():
        file = folder / f"{folder.name}_{number:04d}.png"
        mask = read_mask(file, image["file_name"], (image["width"], image["height"]))
        yield from component_annotations(mask, image["id"])
