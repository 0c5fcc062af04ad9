"""Data sets of phantoms on disk: GDXray's own layout, and COCO annotations beside it."""

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from data.console import progress
from data.errors import InputError
from data.files import write_json, write_text
from data.radiograph import write_radiograph
from data.synthesis.output_folder import claimed
from data.synthesis.phantom import PHANTOM_KINDS, check_arguments, family_of, make_phantom, present_style
from data.tasks import map_in_processes


def write_phantoms(kind: str, n: int, out: str | Path, seed: int, *, bits: int = 8, style: str = "realistic",
                   family: str | None = None, size: tuple[int, int] | None = None,
                   workers: int | None = None, iqi: bool = False) -> Path:  # fmt: skip
    """Write a data set of phantoms in GDXray's layout and return the path of its COCO annotations.

    `OUT/Castings/C0101/C0101_0001.png` and so on with a `ground_truth.txt` (image_id x1 x2 y1 y2) a series, one
    series a family; welds as `OUT/Welds/W0001` with their masks (255 = defect) in `OUT/Welds/W0002`. The file
    `OUT/annotations.json` is written last: where it stands, the set is whole. A set with the same arguments that
    is whole already is left as it is; an interrupted one, or one that lost files, is written anew.

    Args:
        kind: one of `PHANTOM_KINDS`, such as "castings" or "welds".
        n: number of radiographs, 1 or more.
        out: a folder of its own.
        seed: of the data set, 0 or more.
        bits: 8 or 16 per pixel.
        style: see `make_phantom`.
        family: see `make_phantom`.
        size: see `make_phantom`.
        workers: processes; by default one a core. Their number does not change a byte.
        iqi: see `make_phantom`; what the indicators show then stands in the image records, as `iqi`.

    Raises:
        InputError: an argument is outside its range, `out` holds something else, or a worker process died.
        OSError: `out` cannot be written.

    """
    out, style = Path(out), present_style(style)
    check_arguments(kind, seed, 0, style, family, size, iqi)
    if n < 1 or bits not in (8, 16) or (workers is not None and workers < 1):
        raise InputError(f"n {n} and workers {workers} must be 1 or more, and bits {bits} be 8 or 16")
    parameters = {"kind": kind, "n": n, "seed": seed, "bits": bits, "style": style, "family": family,
                  "size": None if size is None else list(size), "generator": PHANTOM_KINDS[kind].generator}  # fmt: skip
    if iqi:  # not named without, so that sets of before are taken for what they are
        parameters["iqi"] = True
    finished = out / "annotations.json"
    with claimed(out, "phantoms.json", parameters, _present_parameters) as begun:
        if begun and _is_whole(finished, n):
            return finished
        places = _number(kind, n, seed, family)
        write = partial(_write_one, out=out, kind=kind, seed=seed, bits=bits, style=style, size=size, iqi=iqi)
        records = []
        with progress() as bar:
            task = bar.add_task(f"phantoms of {kind}", total=n)
            for record in map_in_processes(write, places, workers or min(os.cpu_count() or 1, max(n // 8, 1))):
                records.append(record)
                bar.advance(task)
        _write_ground_truth(out, kind, records)
        write_json(finished, _coco(records, parameters))
    return finished


def _present_parameters(recorded: dict[str, Any]) -> dict[str, Any]:
    """Return recorded parameters with the present name of the style."""
    return recorded | {"style": present_style(str(recorded.get("style")))}


def _is_whole(finished: Path, n: int) -> bool:
    """Return whether the annotations can be read and all `n` radiographs are there."""
    try:
        images = json.loads(finished.read_text(encoding="utf-8"))["images"]
        files = [finished.parent / image["file_name"] for image in images]
        return len(files) == n and all(file.stat().st_size > 0 for file in files)
    except (OSError, ValueError, KeyError, TypeError):  # none yet, or damaged: the set is written anew
        return False


def _number(kind: str, n: int, seed: int, family: str | None) -> list[tuple[int, str, str, int]]:
    """Return (index, family, series, number) of every radiograph, in the order of series and number."""
    drawn = [family or family_of(kind, seed, index) for index in range(n)]
    layout = PHANTOM_KINDS[kind].layout
    places: list[tuple[int, str, str, int]] = []
    for position, name in enumerate(name for name in PHANTOM_KINDS[kind].parts if name in drawn):
        series = layout.series(position)
        members = [index for index in range(n) if drawn[index] == name]
        start = 1 if layout.series_per_part else len(places) + 1
        places += [(index, name, series, number) for number, index in enumerate(members, start=start)]
    return places


def _write_one(place: tuple[int, str, str, int], out: Path, kind: str, seed: int, bits: int, style: str,
               size: tuple[int, int] | None, iqi: bool = False) -> dict[str, Any]:  # fmt: skip
    """Write one radiograph (and a weld's mask) and return its COCO image and annotations, without ids."""
    index, family, series, number = place
    phantom = make_phantom(kind, seed, index, style=style, family=family, size=size, iqi=iqi)
    layout = PHANTOM_KINDS[kind].layout
    name = f"{layout.folder}/{series}/{series}_{number:04d}.png"
    write_radiograph(out / name, phantom.pixels, bits)
    height, width = phantom.pixels.shape
    whole = np.zeros((height, width), np.uint8)
    annotations = []
    for (x, y, mask), label, depth in zip(phantom.masks, phantom.labels, phantom.depths_mm, strict=True):
        footprint = np.zeros((height, width), np.uint8, order="F")
        footprint[y : y + mask.shape[0], x : x + mask.shape[1]] = mask
        whole |= footprint
        encoded = coco_mask.encode(footprint)
        annotations.append({
            "bbox": [float(x), float(y), float(mask.shape[1]), float(mask.shape[0])], "area": float(mask.sum()),
            "iscrowd": 0, "category_id": 1, "depth_mm": round(float(depth), 4), "kind": label,
            "segmentation": {"size": [height, width], "counts": encoded["counts"].decode("ascii")},
        })  # fmt: skip
    if layout.mask_series is not None:
        mask_name = f"{layout.folder}/{layout.mask_series}/{layout.mask_series}_{number:04d}.png"
        write_radiograph(out / mask_name, whole.astype(np.float32))
    image = {"file_name": name, "width": width, "height": height, "series": series, "number": number,
             "family": phantom.family, "pixel_size_mm": phantom.pixel_size_mm}  # fmt: skip
    if phantom.iqi is not None:
        image["iqi"] = phantom.iqi.record()
    return {"image": image, "annotations": annotations}


def _write_ground_truth(out: Path, kind: str, records: list[dict[str, Any]]) -> None:
    """Write one ground_truth.txt a series: image_id x1 x2 y1 y2, as MATLAB writes numbers; none without defects."""
    folder = out / PHANTOM_KINDS[kind].layout.folder
    rows: dict[str, list[str]] = {}
    for record in records:
        lines = rows.setdefault(record["image"]["series"], [])
        for annotation in record["annotations"]:
            x, y, width, height = annotation["bbox"]
            lines.append(" ".join(f"{v:.7e}" for v in (record["image"]["number"], x, x + width, y, y + height)))
    for series, lines in rows.items():
        if lines:
            write_text(folder / series / "ground_truth.txt", "\n".join(lines) + "\n")


def _coco(records: list[dict[str, Any]], parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the COCO data set of the records, ids from 1."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, record in enumerate(records, start=1):
        images.append({"id": image_id, **record["image"]})
        for annotation in record["annotations"]:
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, **annotation})
    info = {"description": "simulated radiographs", "phantoms": parameters}
    return {"info": info, "images": images, "annotations": annotations, "categories": [{"id": 1, "name": "defect"}]}


def count_phantoms(annotations: str | Path) -> list[tuple[str, int, int, int]]:
    """Return (family, images, defects, defect-free images) for every family of a written set, then for all."""
    dataset = json.loads(Path(annotations).read_text(encoding="utf-8"))
    defects = {image["id"]: 0 for image in dataset["images"]}
    for annotation in dataset["annotations"]:
        defects[annotation["image_id"]] += 1
    rows = []
    for family in [*sorted({image["family"] for image in dataset["images"]}), "all"]:
        counts = [defects[i["id"]] for i in dataset["images"] if family in (i["family"], "all")]
        rows.append((family, len(counts), sum(counts), counts.count(0)))
    return rows
