"""Data sets of phantoms on disk: GDXray's own layout, and COCO annotations beside it."""

import json
import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from data.console import progress
from data.errors import InputError
from data.files import write_json, write_text
from data.radiograph import write_radiograph
from data.synthesis.phantom import FAMILIES, check_arguments, family_of, make_phantom

# Changes whenever the same arguments give other pixels, so that old sets are not taken for new ones.
GENERATOR = {"castings": 2, "welds": 3}
# GDXray's C0002 is cut out of its C0001, and readers know it; simulated series keep clear of both.
FIRST_SERIES = 101


def write_phantoms(kind: str, n: int, out: str | Path, seed: int, *, bits: int = 8, style: str = "full",
                   family: str | None = None, size: tuple[int, int] | None = None,
                   workers: int | None = None) -> Path:  # fmt: skip
    """Write a data set of phantoms in GDXray's layout and return the path of its COCO annotations.

    `OUT/Castings/C0101/C0101_0001.png` and so on with a `ground_truth.txt` (image_id x1 x2 y1 y2) a series, one
    series a family; welds as `OUT/Welds/W0001` with their masks (255 = defect) in `OUT/Welds/W0002`. The file
    `OUT/annotations.json` is written last: where it stands, the set is whole. A set with the same arguments that
    is whole already is left as it is; an interrupted one is written anew.

    Args:
        kind: "castings" or "welds".
        n: number of radiographs, 1 or more.
        out: a folder of its own.
        seed: of the data set, 0 or more.
        bits: 8 or 16 per pixel.
        style: see `make_phantom`.
        family: see `make_phantom`.
        size: see `make_phantom`.
        workers: processes; by default one a core. Their number does not change a byte.

    Raises:
        InputError: an argument is outside its range, or `out` holds something else.

    """
    out = Path(out)
    check_arguments(kind, seed, 0, style, family, size)
    if n < 1 or bits not in (8, 16) or (workers is not None and workers < 1):
        raise InputError(f"n {n} and workers {workers} must be 1 or more, and bits {bits} be 8 or 16")
    parameters = {"kind": kind, "n": n, "seed": seed, "bits": bits, "style": style, "family": family,
                  "size": None if size is None else list(size), "generator": GENERATOR[kind]}  # fmt: skip
    finished = out / "annotations.json"
    if _claim(out, parameters) and finished.exists():
        return finished
    places = _number(kind, n, seed, family)
    write = partial(_write_one, out=out, kind=kind, seed=seed, bits=bits, style=style, size=size)
    records = []
    with progress() as bar:
        task = bar.add_task(f"phantoms of {kind}", total=n)
        for record in _map(write, places, workers or min(os.cpu_count() or 1, max(n // 8, 1))):
            records.append(record)
            bar.advance(task)
    _write_ground_truth(out, kind, records)
    write_json(finished, _coco(records, parameters))
    return finished


def _claim(out: Path, parameters: dict[str, Any]) -> bool:
    """Return whether `out` was begun with the same parameters; mark it as ours if it is new or empty."""
    marker = out / "phantoms.json"
    if marker.is_file():
        if json.loads(marker.read_text(encoding="utf-8")) != parameters:
            raise InputError(f"{out} holds phantoms made with other arguments (see {marker}); choose another folder")
        return True
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and holds something else; choose a folder that is new or empty")
    write_json(marker, parameters)
    return False


def _number(kind: str, n: int, seed: int, family: str | None) -> list[tuple[int, str, str, int]]:
    """Return (index, family, series, number) of every radiograph, in the order of series and number."""
    drawn = [family or family_of(kind, seed, index) for index in range(n)]
    places = []
    for count, name in enumerate((name for name in FAMILIES[kind] if name in drawn), start=FIRST_SERIES):
        series = f"C{count:04d}" if kind == "castings" else "W0001"
        members = [index for index in range(n) if drawn[index] == name]
        start = 1 if kind == "castings" else len(places) + 1
        places += [(index, name, series, number) for number, index in enumerate(members, start=start)]
    return places


def _map(function: Any, items: list[Any], workers: int) -> Iterator[dict[str, Any]]:
    """Yield function(item) in order, from `workers` processes, or from this one where workers is 1."""
    if workers == 1:
        yield from map(function, items)
        return
    # Fresh processes: forking one that has threads (OpenCV, torch) can hang.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_start_worker)
    try:
        yield from pool.map(function, items, chunksize=max(1, min(8, len(items) // (4 * workers))))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    """Keep a worker to one thread, and leave Ctrl-C to the parent, which then stops its workers."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _write_one(place: tuple[int, str, str, int], out: Path, kind: str, seed: int, bits: int, style: str,
               size: tuple[int, int] | None) -> dict[str, Any]:  # fmt: skip
    """Write one radiograph (and a weld's mask) and return its COCO image and annotations, without ids."""
    index, family, series, number = place
    phantom = make_phantom(kind, seed, index, style=style, family=family, size=size)
    group = "Castings" if kind == "castings" else "Welds"
    name = f"{group}/{series}/{series}_{number:04d}.png"
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
    if kind == "welds":
        write_radiograph(out / f"Welds/W0002/W0002_{number:04d}.png", whole.astype(np.float32))
    image = {"file_name": name, "width": width, "height": height, "series": series, "number": number,
             "family": phantom.family, "pixel_size_mm": phantom.pixel_size_mm}  # fmt: skip
    return {"image": image, "annotations": annotations}


def _write_ground_truth(out: Path, kind: str, records: list[dict[str, Any]]) -> None:
    """Write one ground_truth.txt a series: image_id x1 x2 y1 y2, as MATLAB writes numbers; none without defects."""
    group = "Castings" if kind == "castings" else "Welds"
    rows: dict[str, list[str]] = {}
    for record in records:
        lines = rows.setdefault(record["image"]["series"], [])
        for annotation in record["annotations"]:
            x, y, width, height = annotation["bbox"]
            lines.append(" ".join(f"{v:.7e}" for v in (record["image"]["number"], x, x + width, y, y + height)))
    for series, lines in rows.items():
        if lines:
            write_text(out / group / series / "ground_truth.txt", "\n".join(lines) + "\n")


def _coco(records: list[dict[str, Any]], parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the COCO data set of the records, ids from 1."""
    images, annotations = [], []
    for image_id, record in enumerate(records, start=1):
        images.append({"id": image_id, **record["image"]})
        for annotation in record["annotations"]:
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, **annotation})
    info = {"description": "simulated radiographs", "phantoms": parameters}
    return {"info": info, "images": images, "annotations": annotations, "categories": [{"id": 1, "name": "defect"}]}


def count_phantoms(annotations: str | Path) -> list[tuple[str, int, int, int]]:
    """Return (family, images, defects, clean images) for every family of a written set, then for all."""
    dataset = json.loads(Path(annotations).read_text(encoding="utf-8"))
    defects = {image["id"]: 0 for image in dataset["images"]}
    for annotation in dataset["annotations"]:
        defects[annotation["image_id"]] += 1
    rows = []
    for family in [*sorted({image["family"] for image in dataset["images"]}), "all"]:
        counts = [defects[i["id"]] for i in dataset["images"] if family in (i["family"], "all")]
        rows.append((family, len(counts), sum(counts), counts.count(0)))
    return rows
