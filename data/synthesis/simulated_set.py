"""Data sets with simulated defects on disk: the radiographs in their own bit depth, and COCO annotations."""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from data.coco import CocoDataset, write_coco
from data.console import progress
from data.drawing import draw_boxes
from data.errors import InputError
from data.files import atomic_path
from data.formats.dicom import is_dicom
from data.gray_notes import GrayNotes
from data.gray_window import GrayWindow
from data.image_paths import existing_image
from data.radiograph import (
    PNG_SUFFIXES,
    TIFF_SUFFIXES,
    Radiograph,
    radiograph_size,
    read_radiograph,
    square_side,
    write_radiograph,
)
from data.records import Annotation, ImageRecord
from data.synthesis.on_the_fly import build_simulator
from data.synthesis.output_folder import claimed
from data.synthesis.simulated_defects import Simulated
from data.synthesis.simulation_config import SimulationConfig

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
    dataset = _without(dataset, image_dir, out)
    category = _category_id(dataset, config.category)
    _check_records(dataset)
    paths = [existing_image(image_dir, image) for image in dataset.images]
    names = _output_names(dataset.images, paths, image_dir, out, bit_depth)
    for image, path in zip(dataset.images, paths, strict=True):
        width, height = radiograph_size(path)
        if (width, height) != (image["width"], image["height"]):
            raise InputError(
                f"{path}: image {image['id']} has {width} x {height} pixels, but the data set says"
                f" {image['width']} x {image['height']}; correct its width and height"
            )
    simulator = build_simulator(config)
    simulation = config.model_dump(mode="json") | {"per_image": per_image, "seed": seed}
    if bit_depth is not None:
        simulation["bit_depth"] = bit_depth
    if window is not None:
        simulation["window"] = asdict(window)
    parameters = {
        "simulation": simulation,
        "generator": GENERATOR,
        "bit_depth": bit_depth,
        "dataset": _digest(dataset, image_dir),
    }
    inputs = _fingerprint([*paths, *(Path(name) for name in (config.sizes_from, config.patches_from) if name)])
    with claimed(out, MARKER, parameters) as begun:
        if begun and _is_whole(out, names, inputs):
            return out / ANNOTATIONS
        images: list[ImageRecord] = []
        annotations: list[Annotation] = []
        shown: list[np.ndarray] = []
        notes = GrayNotes()
        with progress() as bar:
            task = bar.add_task("simulated defects", total=len(paths))
            for index, (image, path) in enumerate(zip(dataset.images, paths, strict=True)):
                radiograph = read_radiograph(path, bit_depth, window)
                real, boxes = dataset.annotations_of(image["id"]), dataset.boxes_xyxy(image["id"])
                notes.add(image["file_name"], replace(radiograph, level_map=radiograph.display_map()))
                levels = radiograph.full_scale
                background = simulator.analyze(radiograph.pixels, boxes, levels)
                rng = np.random.default_rng([seed, index])
                simulated = simulator(radiograph.pixels, background, rng, per_image, levels)
                # With fewer bits than 8 the levels are not the file's own any more.
                stated = radiograph.file_window if radiograph.bit_depth >= 8 else None
                pixels = _full_depth(radiograph, simulated.pixels)
                write_radiograph(out / names[index], pixels, max(radiograph.bit_depth, 8), stated)
                images.append({**image, "file_name": names[index]})
                side = square_side(radiograph.pixel_size_mm)
                if side is not None:
                    images[-1].setdefault("pixel_size_mm", side)
                annotations += real if config.real_defects == "keep" else []
                annotations += _annotations(simulated, image, category)
                if len(shown) < SHOWN:
                    shown.append(_pair(radiograph, boxes, pixels, simulated.boxes))
                bar.advance(task)
        annotations = [{**annotation, "id": k} for k, annotation in enumerate(annotations, start=1)]
        notes.warn()
        _write_picture(out / PICTURE, shown)
        info = dataset.info | {"simulation": simulation, "inputs": inputs}
        written = CocoDataset(images, annotations, dataset.categories, info=info, extra=dataset.extra)
        write_coco(out / ANNOTATIONS, written)
    return out / ANNOTATIONS


def _category_id(dataset: CocoDataset, name: str | None) -> int:
    """Return the id of the category that simulated defects get."""
    found = [c["id"] for c in sorted(dataset.categories, key=lambda c: c["id"]) if name in (None, c["name"])]
    if not found:
        wanted = f"no category {name!r}" if name else "no category"
        raise InputError(f"{dataset.path or 'data set'}: {wanted} for simulated defects; it has {dataset.class_names}")
    return found[0]


def _without(dataset: CocoDataset, image_dir: Path, out: Path) -> CocoDataset:
    """Return a folder's data without the radiographs in `out`, which an earlier start wrote; others as they are."""
    if dataset.path is None or not dataset.path.is_dir() or dataset.annotations:
        return dataset
    folder = out.resolve()
    kept = [i for i in dataset.images if not (image_dir / i["file_name"]).resolve().is_relative_to(folder)]
    return replace(dataset, images=[{**image, "id": k} for k, image in enumerate(kept, start=1)])


def _check_records(dataset: CocoDataset) -> None:
    """Raise InputError for a record that JSON cannot hold, such as one with NaN, before anything is written."""
    where = dataset.path or "data set"
    sections: dict[str, Iterable[Any]] = {
        "image": dataset.images, "annotation": dataset.annotations, "category": dataset.categories,
        "info": [dataset.info], "key": dataset.extra.items(),
    }  # fmt: skip
    for section, records in sections.items():
        for record in records:
            try:
                json.dumps(record, allow_nan=False)
            except (TypeError, ValueError) as error:
                named = f" {record['id']}" if isinstance(record, dict) and "id" in record else ""
                raise InputError(f"{where}: {section}{named}: {error}; correct or remove the value") from error


def _output_names(
    images: list[ImageRecord], paths: list[Path], image_dir: Path, out: Path, bit_depth: int | None
) -> list[str]:
    """Return the names inside `out` that the radiographs are written under.

    Raises InputError for names that are taken, lead out of `out`, or lie on a radiograph that is read.
    """
    folder, base = out.resolve(), os.path.abspath(image_dir)
    inputs = {path.resolve(): path for path in paths}
    inside = next((path for real, path in inputs.items() if real.is_relative_to(folder)), None)
    if inside is not None:
        raise InputError(f"{inside}: a radiograph that is read lies in the output folder {out}; choose another folder")
    taken: dict[str, int] = {name: 0 for name in (MARKER, PICTURE, ANNOTATIONS)}
    names = []
    for image, path in zip(images, paths, strict=True):
        name = _name_by_format(Path(os.path.relpath(os.path.abspath(path), base)).as_posix(), path, bit_depth)
        where = f"image {image['id']}: file_name {image['file_name']!r}"
        # Links inside of the output folder may lead out of it, as names may.
        target = (out / name).parent.resolve() / Path(name).name
        if not target.is_relative_to(folder) or target in inputs:
            raise InputError(f"{where} leads out of the output folder {out}; give names below the folder of images")
        if name in taken:
            other = f"image {taken[name]} is" if taken[name] else "the toolkit's own file is"
            raise InputError(f"{where}: {other} written as {name} already; rename one of the two")
        taken[name] = image["id"]
        names.append(name)
    return names


def _name_by_format(name: str, path: Path, bit_depth: int | None) -> str:
    """Return a file name that a radiograph can be written under with its depth."""
    suffix = Path(name).suffix.lower()
    # A PNG holds 8 or 16 bits; a DICOM file may have any name and any depth.
    fits_png = not is_dicom(path) and (bit_depth is None or bit_depth <= 8 or bit_depth == 16)
    if suffix in TIFF_SUFFIXES or (suffix in PNG_SUFFIXES and fits_png):
        return name
    return f"{name}.tif"  # behind the old suffix: a.jpg and a.bmp stay apart, and so do DICOM's numbers with points


def _digest(dataset: CocoDataset, image_dir: Path) -> str:
    """Return a hash of the records and of where their radiographs lie."""
    content = [dataset.images, dataset.annotations, dataset.categories, dataset.info, dataset.extra,
               str(image_dir.resolve())]  # fmt: skip
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _fingerprint(paths: list[Path]) -> str:
    """Return a hash of the sizes and times of files, and of all files in folders."""
    files = [file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    states = [(state.st_size, state.st_mtime_ns) for state in (file.stat() for file in files)]
    return hashlib.sha256(json.dumps(states).encode()).hexdigest()[:16]


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


def _full_depth(radiograph: Radiograph, pixels: np.ndarray) -> np.ndarray:
    """Return changed gray values of a radiograph, float32 [H, W], on the scale of the full depth.

    What the window saturates, such as a burnt-in caption, keeps its level where nothing was changed.
    """
    if radiograph.level_map.source == "full":
        return pixels
    levels = radiograph.levels.astype(np.int64)
    changed = pixels != radiograph.pixels
    levels[changed] = radiograph.level_map.levels_of(pixels[changed])
    return (levels / (2**radiograph.bit_depth - 1)).astype(np.float32)


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
