"""Data sets with simulated defects on disk: the radiographs in their own bit depth, and COCO annotations."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from data.coco import CocoDataset, write_coco
from data.console import progress
from data.errors import InputError
from data.files import atomic_path
from data.montage import draw_boxes
from data.radiograph import PNG_SUFFIXES, read_radiograph, write_radiograph
from data.synthesis.fresh_defects import build_simulator
from data.synthesis.simulated_defects import Simulated
from data.synthesis.simulation_config import SimulationConfig

SHOWN = 3  # radiographs in the picture


def write_simulated(dataset: CocoDataset, image_dir: str | Path, out: str | Path, config: SimulationConfig,
                    per_image: int, seed: int = 0) -> Path:  # fmt: skip
    """Write every radiograph with `per_image` simulated defects to `out`; return the path of its COCO annotations.

    Files keep their names and bit depths; what is neither PNG of 8 or 16 bits nor TIFF becomes TIFF. Simulated
    annotations have `simulated` true and a segmentation; real ones stay with `real_defects: keep`. Fewer
    defects are simulated where they have no room. `before_after.png` shows some radiographs, `annotations.json` is
    written last: where it stands, the set is whole. Radiograph k depends on (`seed`, k) and nothing else.

    Raises InputError for an `out` that holds something, a missing image, an unknown category, and two radiographs that
    would get one file name.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and holds something; choose a folder that is new or empty")
    category = _category_id(dataset, config.category)
    simulator: Any = build_simulator(config)
    images, annotations, shown = [], [], []
    taken: set[str] = set()
    with progress() as bar:
        task = bar.add_task("simulated defects", total=len(dataset.images))
        for index, image in enumerate(dataset.images):
            radiograph = read_radiograph(Path(image_dir) / image["file_name"])
            real, boxes = dataset.annotations_of(image["id"]), dataset.boxes_xyxy(image["id"])
            simulated = simulator(radiograph.pixels, simulator.study(radiograph.pixels, boxes),
                                  np.random.default_rng([seed, index]), per_image,
                                  2**radiograph.bit_depth - 1)  # fmt: skip
            name = _free_name(image["file_name"], radiograph.bit_depth, taken)
            write_radiograph(out / name, simulated.pixels, max(radiograph.bit_depth, 8))
            images.append(image | {"file_name": name})
            annotations += real if config.real_defects == "keep" else []
            annotations += _annotations(simulated, image, category)
            if len(shown) < SHOWN:
                shown.append(np.hstack([draw_boxes(radiograph.pixels, boxes),
                                        draw_boxes(simulated.pixels, simulated.boxes)]))  # fmt: skip
            bar.advance(task)
    annotations = [annotation | {"id": k} for k, annotation in enumerate(annotations, start=1)]
    _write_picture(out / "before_after.png", shown)
    info = dataset.info | {"simulation": config.model_dump(mode="json") | {"per_image": per_image, "seed": seed}}
    written = CocoDataset(images, annotations, dataset.categories, info=info, extra=dataset.extra)
    write_coco(out / "annotations.json", written)
    return out / "annotations.json"


def _category_id(dataset: CocoDataset, name: str | None) -> int:
    """Return the id of the category that simulated defects get."""
    found = [c["id"] for c in sorted(dataset.categories, key=lambda c: c["id"]) if name in (None, c["name"])]
    if not found:
        wanted = f"no category {name!r}" if name else "no category"
        raise InputError(f"{dataset.path or 'data set'}: {wanted} for simulated defects; it has {dataset.class_names}")
    return found[0]


def _free_name(name: str, bit_depth: int, taken: set[str]) -> str:
    """Return the file name under which a radiograph of this depth can be written, and note it in `taken`."""
    suffix = Path(name).suffix.lower()
    kept = suffix in (".tif", ".tiff") or (suffix in PNG_SUFFIXES and bit_depth in (8, 16))
    # Behind the old suffix: a.jpg and a.bmp stay apart, and so do DICOM's numbers with points.
    found = name if kept else f"{name}.tif"
    if found in taken:
        raise InputError(f"{name}: another radiograph is written as {found} already; rename one of the two")
    taken.add(found)
    return found


def _annotations(simulated: Simulated, image: dict, category: int) -> list[dict]:
    """Return the COCO annotations of the simulated defects of one radiograph, without ids."""
    found = []
    for (x, y, mask), box in zip(simulated.masks, simulated.boxes, strict=True):
        footprint = np.zeros(simulated.pixels.shape, np.uint8, order="F")
        footprint[y : y + mask.shape[0], x : x + mask.shape[1]] = mask
        counts = coco_mask.encode(footprint)["counts"].decode("ascii")
        found.append({
            "image_id": image["id"], "category_id": category, "iscrowd": 0, "area": float(mask.sum()),
            "bbox": [float(v) for v in (*box[:2], *(box[2:] - box[:2]))], "simulated": True,
            "segmentation": {"size": list(footprint.shape), "counts": counts},
        })  # fmt: skip
    return found


def _write_picture(path: Path, rows: list[np.ndarray]) -> None:
    """Write pairs of pictures RGB uint8 one under the other, narrower ones filled up with white."""
    if not rows:
        return
    width = max(row.shape[1] for row in rows)
    sheet = np.vstack([np.pad(row, ((0, 6), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows])
    with atomic_path(path) as temporary:
        cv2.imwrite(str(temporary), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
