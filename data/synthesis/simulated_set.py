"""Data sets with simulated defects on disk: the radiographs in their own bit depth, and COCO annotations."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from data.coco import CocoDataset, write_coco
from data.console import progress
from data.drawing import draw_boxes
from data.files import atomic_path
from data.gray_notes import GrayNotes
from data.gray_window import GrayWindow
from data.radiograph import Radiograph, square_side, write_radiograph
from data.records import Annotation, ImageRecord
from data.synthesis.on_the_fly import build_simulator
from data.synthesis.output_folder import claimed
from data.synthesis.simulated_defects import Simulated
from data.synthesis.simulated_radiograph import RadiographWithDefects
from data.synthesis.simulation_config import SimulationConfig
from data.synthesis.simulation_inputs import check_inputs

SHOWN = 3  # radiographs in the picture
MARKER, PICTURE, ANNOTATIONS = "simulation.json", "before_after.png", "annotations.json"
# Rises whenever the same arguments give other pixels, so that old sets are not taken for new ones.
GENERATOR = 1


def write_simulated(dataset: CocoDataset, image_dir: str | Path, out: str | Path, config: SimulationConfig,
                    per_image: int, seed: int = 0, bit_depth: int | None = None, window: GrayWindow | None = None
                    ) -> Path:  # fmt: skip
    """Write every radiograph with `per_image` simulated defects to `out`; return the path of its COCO annotations.

    Files keep their names below the folder of images, and their bit depths (`bit_depth` where they state it wrongly);
    what is neither PNG of 8 or 16 bits nor TIFF becomes TIFF, with the gray window that a DICOM header states.
    Simulated annotations have `simulated` true and a segmentation; real ones stay with `real_defects: keep`. Fewer
    defects are simulated where they have no room. `before_after.png` shows some radiographs, `annotations.json` is
    written last: where it stands, the set is whole. With `window` defects are drawn in the gray values behind it, as a
    training draws them, and written in the file's own levels; without, in those of the full depth. Radiograph k depends
    on (`seed`, k) and nothing else. Where a folder of radiographs holds `out`, what `out` holds is not read.

    A whole set with the same arguments and the same radiographs is left as it is, an interrupted one is written anew.
    Everything that can be seen beforehand is checked before anything is written.

    Raises:
        InputError: `out` holds something else, a radiograph is missing or has another size than recorded, a category is
            unknown, a record is not JSON, two radiographs would get one file name, or a name leads out of `out` or onto
            a radiograph.
        OSError: `out` cannot be written.

    """
    out, image_dir = Path(out), Path(image_dir)
    own = (MARKER, PICTURE, ANNOTATIONS)
    inputs = check_inputs(dataset, image_dir, out, own, config, per_image, seed, bit_depth, window, GENERATOR)
    dataset, names = inputs.dataset, inputs.names
    simulator = build_simulator(config)
    with claimed(out, MARKER, inputs.parameters) as begun:
        if begun and _is_whole(out, names, inputs.fingerprint):
            return out / ANNOTATIONS
        images: list[ImageRecord] = []
        annotations: list[Annotation] = []
        shown: list[np.ndarray] = []
        notes = GrayNotes()
        with progress() as bar:
            task = bar.add_task("simulated defects", total=len(names))
            for index, (image, path) in enumerate(zip(dataset.images, inputs.paths, strict=True)):
                real, boxes = dataset.annotations_of(image["id"]), dataset.boxes_xyxy(image["id"])
                source = RadiographWithDefects(path, boxes, simulator, bit_depth, window)
                radiograph = source.radiograph
                notes.add(image["file_name"], replace(radiograph, level_map=radiograph.display_map()))
                made = source.with_defects(np.random.default_rng([seed, index]), per_image)
                write_radiograph(out / names[index], made.pixels, made.bits, made.window)
                images.append({**image, "file_name": names[index]})
                side = square_side(radiograph.pixel_size_mm)
                if side is not None:
                    images[-1].setdefault("pixel_size_mm", side)
                annotations += real if config.real_defects == "keep" else []
                annotations += _annotations(made.simulated, image, inputs.category)
                if len(shown) < SHOWN:
                    shown.append(_pair(radiograph, boxes, made.pixels, made.simulated.boxes))
                bar.advance(task)
        annotations = [{**annotation, "id": k} for k, annotation in enumerate(annotations, start=1)]
        notes.warn()
        _write_picture(out / PICTURE, shown)
        info = dataset.info | {"simulation": inputs.parameters["simulation"], "inputs": inputs.fingerprint}
        written = CocoDataset(images, annotations, dataset.categories, info=info, extra=dataset.extra)
        write_coco(out / ANNOTATIONS, written)
    return out / ANNOTATIONS


def _is_whole(out: Path, names: list[str], inputs: str) -> bool:
    """Return whether the annotations can be read, name these files and radiographs, and all files are there."""
    try:
        content = json.loads((out / ANNOTATIONS).read_text(encoding="utf-8"))
        written = [image["file_name"] for image in content["images"]]
        files = [out / name for name in (*names, PICTURE)]
        same = written == names and content["info"]["inputs"] == inputs
        return same and all(file.stat().st_size > 0 for file in (files if names else []))
    except (OSError, ValueError, KeyError, TypeError):  # none yet, or damaged: the set is written anew
        return False


def _pair(radiograph: Radiograph, boxes: np.ndarray, after: np.ndarray, simulated: np.ndarray) -> np.ndarray:
    """Return a radiograph with its boxes beside the one with simulated defects, RGB uint8.

    `after` float32 [H, W] holds gray values of the full depth, `simulated` float32 [N, 4] the boxes of new defects.
    """
    view = radiograph.display_map()  # that of the radiograph for both
    levels = np.rint(after * (2**radiograph.bit_depth - 1)).astype(radiograph.levels.dtype)
    return np.hstack([draw_boxes(view(radiograph.levels), boxes), draw_boxes(view(levels), simulated)])


def _annotations(simulated: Simulated, image: ImageRecord, category: int) -> list[Annotation]:
    """Return the COCO annotations of the simulated defects of one radiograph, without ids."""
    found: list[Annotation] = []
    for (x, y, mask, contrast), box in zip(simulated.masks, simulated.boxes, strict=True):
        footprint = np.zeros(simulated.pixels.shape, np.uint8, order="F")
        footprint[y : y + mask.shape[0], x : x + mask.shape[1]] = mask
        counts = coco_mask.encode(footprint)["counts"].decode("ascii")
        found.append({
            "id": 0, "image_id": image["id"], "category_id": category, "iscrowd": 0, "area": float(mask.sum()),
            "bbox": [float(v) for v in (*box[:2], *(box[2:] - box[:2]))], "simulated": True,
            "segmentation": {"size": list(footprint.shape), "counts": counts},
        })  # fmt: skip
        if contrast is not None:
            found[-1]["contrast_to_noise"] = round(contrast, 4)
    return found


def _write_picture(path: Path, rows: list[np.ndarray]) -> None:
    """Write pairs of pictures RGB uint8 one under the other, narrower ones filled up with white."""
    if not rows:
        return
    width = max(row.shape[1] for row in rows)
    sheet = np.vstack([np.pad(row, ((0, 6), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows])
    with atomic_path(path) as temporary:
        cv2.imwrite(str(temporary), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
