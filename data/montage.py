"""Sheets of several radiographs to look at."""

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from data.coco import CocoDataset
from data.drawing import PREDICTION_COLOR as PREDICTION_COLOR
from data.drawing import TRUTH_COLOR as TRUTH_COLOR
from data.drawing import draw_boxes
from data.drawing import draw_heat_map as draw_heat_map
from data.errors import InputError
from data.gray_window import AUTO
from data.image_paths import existing_image
from data.pictures import CAPTION_HEIGHT, FONT, GAP, PAPER, captioned, grid, write_picture
from data.radiograph import read_radiograph
from data.records import ImageRecord

HIGHEST_CELL = 4  # times as high as wide, so that a long film does not fill the sheet (and the memory)
PATCH_COLUMNS, PATCH_SCALE = 10, 3  # patches in a row of their sheet, and their enlargement


def write_montage(
    path: str | Path,
    dataset: CocoDataset,
    image_dir: str | Path,
    count: int = 12,
    columns: int = 4,
    cell_width: int = 400,
) -> None:
    """Write a PNG sheet of up to `count` radiographs with their annotations, evenly chosen, with captions.

    The choice takes as many images with annotations as there are, spread over the data set, and one negative
    where there is one. Radiographs are shrunk or enlarged to `cell_width` pixels, very high
    ones to a height. Raises InputError.
    """
    images = _chosen(dataset, count)
    if not images:
        raise InputError(f"{dataset.path or 'data set'}: no images to show")
    shown = (
        (image["file_name"], read_radiograph(existing_image(image_dir, image), window=AUTO).pixels,
         dataset.boxes_xyxy(image["id"]))
        for image in images
    )  # fmt: skip
    write_sheet(path, shown, columns, cell_width)


def write_sheet(
    path: str | Path, shown: Iterable[tuple[str, np.ndarray, np.ndarray]], columns: int = 4, cell_width: int = 400
) -> None:
    """Write a PNG sheet of one or more radiographs: name, pixels float32 [H, W] in [0, 1], boxes [N, 4] xyxy in px."""
    cells = []
    for name, pixels, boxes in shown:
        caption = f"{Path(name).stem}: {len(boxes)} box{'' if len(boxes) == 1 else 'es'}"
        cells.append(_cell(pixels, boxes, caption, cell_width))
    write_picture(path, grid(cells, columns))


def _chosen(dataset: CocoDataset, count: int) -> list[ImageRecord]:
    positive = [image for image in dataset.images if dataset.annotations_of(image["id"])]
    negative = [image for image in dataset.images if not dataset.annotations_of(image["id"])]
    shown_negative = negative[:1] if positive else negative[:count]
    room = max(count - len(shown_negative), 0)
    steps = np.linspace(0, len(positive) - 1, min(room, len(positive))).round().astype(int)
    chosen = {positive[k]["id"] for k in steps} | {image["id"] for image in shown_negative}
    return [image for image in dataset.images if image["id"] in chosen]


def _cell(pixels: np.ndarray, boxes: np.ndarray, caption: str, cell_width: int) -> np.ndarray:
    """Return one captioned radiograph, `cell_width` pixels wide with its caption, or narrower if it is very high."""
    height, width = pixels.shape
    scale = min(cell_width / width, HIGHEST_CELL * cell_width / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    drawn = draw_boxes(small, boxes * scale)  # drawn after the resize: lines keep their width
    beside = np.full((size[1], cell_width - size[0], 3), PAPER, np.uint8)
    return captioned(np.hstack([drawn, beside]), caption)


def write_patch_sheet(path: str | Path, pixels: np.ndarray, captions: list[str]) -> None:
    """Write a PNG sheet of patches float [N, S, S] in [0, 1], enlarged, each under its caption; N may be 0."""
    side = PATCH_SCALE * pixels.shape[-1]
    width, height = max(side, 72) + GAP, side + CAPTION_HEIGHT + GAP
    rows = max(1, -(-len(pixels) // PATCH_COLUMNS))
    sheet = np.full((rows * height + GAP, PATCH_COLUMNS * width + GAP), PAPER, np.uint8)
    for k, (patch, caption) in enumerate(zip(pixels, captions, strict=True)):
        top, left = GAP + k // PATCH_COLUMNS * height, GAP + k % PATCH_COLUMNS * width
        gray = np.rint(np.clip(patch, 0, 1) * 255).astype(np.uint8)
        large = cv2.resize(gray, (side, side), interpolation=cv2.INTER_NEAREST)
        cv2.putText(sheet, caption, (left, top + 15), FONT, 0.42, 0, 1, cv2.LINE_AA)
        sheet[top + CAPTION_HEIGHT : top + CAPTION_HEIGHT + side, left : left + side] = large
    if not len(pixels):
        cv2.putText(sheet, "none", (GAP, 20), FONT, 0.5, 0, 1, cv2.LINE_AA)
    write_picture(path, sheet)
