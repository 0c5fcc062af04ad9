"""COCO files and results with values of other types and ranges, through everything that reads them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from data.coco import merge_coco, read_coco, read_results, write_coco
from data.coco_check import check_coco
from data.datasets import DetectionDataset
from data.duplicates import check_files
from data.errors import InputError
from data.masks import rasterize
from data.patches import PatchConfig, RadiographPatches
from data.radiograph import write_radiograph
from data.splits import split_dataset
from data.synthesis.placement import box_sizes
from data.transforms import AugmentationConfig, CropConfig
from tests.hostile.mutation import VALUES, changed_bytes, changed_json, changed_values
from tests.hostile.worker import Case

WIDTH, HEIGHT = 60, 48
Answer = TypeVar("Answer")
ABOUT_FILES = ("missing image", "unreadable image", "size")  # kinds of issues that reading the JSON alone cannot see

GOOD: dict[str, Any] = {
    "info": {"version": "1"},
    "categories": [{"id": 2, "name": "pore"}, {"id": 5, "name": "crack", "supercategory": "defect"}],
    "images": [
        {"id": number, "file_name": f"W0009/W0009_{number:04d}.png", "width": WIDTH, "height": HEIGHT,
         "series": "W0009", "number": number, "pixel_size_mm": 0.2}
        for number in (1, 2, 3)
    ],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 2, "bbox": [4, 5, 12.5, 10], "area": 125, "iscrowd": 0,
         "segmentation": [[4, 5, 16.5, 5, 16.5, 15, 4, 15]]},
        {"id": 2, "image_id": 1, "category_id": 5, "bbox": [30, 20, 10, 10], "area": 100, "iscrowd": 1,
         "segmentation": {"size": [HEIGHT, WIDTH], "counts": [1460, 10, 38, 10, WIDTH * HEIGHT - 1518]}},
        {"id": 3, "image_id": 2, "category_id": 2, "bbox": [0, 0, WIDTH, HEIGHT], "depth_mm": 1.5},
        {"id": 4, "image_id": 3, "category_id": 2, "bbox": [7, 7, 9, 9], "iscrowd": 0,
         "segmentation": {"size": [HEIGHT, WIDTH], "counts": "Y1d0P100000000000000OPbm0"}},
    ],
}  # fmt: skip
RESULTS = [
    {"image_id": 1, "category_id": 2, "bbox": [4, 5, 12, 10], "score": 0.75},
    {"image_id": 3, "category_id": 5, "bbox": [1, 1, 2, 2], "score": 1},
]
NEAR = (*VALUES, [WIDTH - 0.004, 0, 0.004, HEIGHT], [0, 0, 0, 5], [-1e-3, 0, 9, 9], [[0, 0, 1e9, 0, 1e9, 1e9]],
        [[1, 1, 2, 2, 3, 3]], {"size": [HEIGHT, WIDTH], "counts": [WIDTH * HEIGHT]},
        {"size": [HEIGHT, WIDTH], "counts": "1" * 40}, {"size": [2**31, 2**31], "counts": [2**62]},
        "W0009/W0009_0001.png", "W0009")  # fmt: skip


def _if_accepted(function: Callable[[], Answer]) -> Answer | None:
    try:
        return function()
    except InputError:
        return None


def make_case(folder: Path) -> Case:
    """Return the case that checks, reads and uses a file; what the check calls clean must serve for training."""
    rng = np.random.default_rng(0)
    for image in GOOD["images"]:
        write_radiograph(folder / image["file_name"], rng.uniform(0.3, 0.6, (HEIGHT, WIDTH)))
    path = folder / "parts.json"
    augmentation = AugmentationConfig(crop=CropConfig(size=32, around_defect=0.5), rotate=20, vertical_flip=0.5)

    def case(number: int) -> None:
        rng = np.random.default_rng([13, number])
        if number % 8 == 7:
            path.write_bytes(changed_json(RESULTS, rng))
            read_results(path)
            return
        content = changed_json(changed_values(GOOD, rng, most=1, values=NEAR), rng) if number % 3 else None
        if content is None:
            content = changed_json(GOOD, rng)
        if number % 40 == 0:
            content = changed_bytes(content, rng)
        path.write_bytes(content)
        issues = _if_accepted(lambda: check_coco(path, folder))
        dataset = _if_accepted(lambda: read_coco(path))
        if issues is not None:
            errors = [i for i in issues if i.severity == "error" and i.kind not in ABOUT_FILES]
            assert bool(errors) == (dataset is None), f"the check and the reader disagree: {errors[:1]}"
        if dataset is None:
            raise InputError("refused")
        for method in ("none", "series", "block", "random", "odd-even"):
            _if_accepted(lambda method=method: split_dataset(dataset, method, fractions=(0.4, 0.3, 0.3)))
        _if_accepted(lambda: merge_coco([dataset, dataset], ["x", "y"]))
        _if_accepted(lambda: write_coco(folder / "out.json", dataset))
        _if_accepted(lambda: dataset.with_margin(3.0))
        _if_accepted(lambda: box_sizes(dataset, 0.5))
        for image in dataset.images:
            _if_accepted(lambda image=image: rasterize(dataset, image["id"]))
        clean = issues is not None and not any(issue.severity == "error" for issue in issues)
        try:
            samples = DetectionDataset(dataset, folder, augmentation)
            for position in range(len(samples)):
                samples[position]
        except InputError as error:
            if clean:
                raise AssertionError(f"called clean and refused: {error}") from error
        _if_accepted(lambda: RadiographPatches(dataset, folder, PatchConfig(size=8, per_image=2)).sample_set(0))
        _if_accepted(lambda: check_files([path, path], [folder]))

    return case
