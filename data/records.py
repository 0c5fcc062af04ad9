"""The records of COCO files as types: what `data.coco` reads and everything after it may rely on.

They are plain dicts at run time. Keys that COCO does not know stay in a record; those that the toolkit itself
writes or reads are named here.
"""

from typing import Any, NotRequired, TypedDict


class ImageRecord(TypedDict):
    """One image: `width` and `height` in pixels, at least 1.

    `series` and `number` say which series of radiographs it belongs to and its place there; `pixel_size_mm` is the
    side of a pixel in mm; `points` are [x, y] in pixels that an annotator marked without a box; `family` the kind
    of a simulated part.
    """

    id: int
    file_name: str
    width: int
    height: int
    series: NotRequired[str]
    number: NotRequired[int]
    pixel_size_mm: NotRequired[float]
    points: NotRequired[list[list[float]]]
    family: NotRequired[str]


class Annotation(TypedDict):
    """One object: `bbox` is x, y, width, height in pixels, `area` in pixels squared, `iscrowd` 0 or 1.

    `segmentation` is a list of polygons x1, y1, x2, y2 ..., or a run-length mask with `size` [height, width] and
    `counts`. `simulated` is true of a defect that the toolkit put there; `depth_mm` and `kind` belong to those of
    simulated parts, `contrast_to_noise` to defects whose strength is stated so. `read_coco` fills in `area` and
    `iscrowd`.
    """

    id: int
    image_id: int
    category_id: int
    bbox: list[float]
    area: NotRequired[float]
    iscrowd: NotRequired[int]
    segmentation: NotRequired[list[list[float]] | dict[str, Any]]
    simulated: NotRequired[bool]
    depth_mm: NotRequired[float]
    kind: NotRequired[str]
    contrast_to_noise: NotRequired[float]


class Category(TypedDict):
    """One class of objects."""

    id: int
    name: str
    supercategory: NotRequired[str]


class Result(TypedDict):
    """One detection, as in COCO results: `bbox` is x, y, width, height in pixels."""

    image_id: int
    category_id: int
    bbox: list[float]
    score: float
