"""Simulated radiographs of castings and welds with known defects, and data sets of them on disk.

Every phantom is a function of (kind, seed, index, style, family, size) alone, so that any number of processes
writes the same bytes.
"""

import json
import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from data.console import progress
from data.errors import InputError
from data.files import atomic_path, write_json, write_text
from data.synthesis import castings, welds
from data.synthesis.casting_parts import CASTING_FAMILIES
from data.synthesis.defects import Defect
from data.synthesis.weld_parts import WELD_FAMILIES

FAMILIES = {"castings": CASTING_FAMILIES, "welds": WELD_FAMILIES}
STYLES = ("full", "plain")
# Wheels come twice as often: they are the most varied part, and the most common in GDXray.
_CASTING_CYCLE = ("wheel", "plate", "housing", "wheel", "knuckle", "bracket", "ring")
_SMALLEST_SIDE = 64
_LARGEST_SIDE = 8192


@dataclass(frozen=True)
class Phantom:
    """One simulated radiograph and the truth about it.

    Attributes:
        pixels: float32 [H, W] in [0, 1], larger is brighter on the display.
        boxes: float64 [N, 4], x1 y1 x2 y2 in pixels: the tight box of what is seen of each defect, that is of the
            pixels whose noise-free contrast after blur exceeds a fifth of the defect's peak. N may be 0.
        labels: the N kinds of defect, such as "pore" or "crack".
        depths_mm: float64 [N], the largest chord along the ray in mm.
        masks: N tuples (x0, y0, bool [h, w]): the corner in pixels and the footprint inside the box.
        family: the kind of part, one of `FAMILIES[kind]`.
        pixel_size_mm: the pixel's size on the part in mm.

    """

    pixels: np.ndarray
    boxes: np.ndarray
    labels: list[str]
    depths_mm: np.ndarray
    masks: list[tuple[int, int, np.ndarray]]
    family: str
    pixel_size_mm: float


def make_phantom(kind: str, seed: int, index: int, *, style: str = "full", family: str | None = None,
                 size: tuple[int, int] | None = None) -> Phantom:  # fmt: skip
    """Return one simulated radiograph, the same for the same arguments.

    Args:
        kind: "castings" (defects brighter than the metal) or "welds" (film: defects darker).
        seed: of the data set, 0 or more.
        index: of the radiograph in the data set, 0 or more.
        style: "full" as GDXray's radiographs; "plain" for a quick start: 320 x 320, quiet, clear defects.
        family: one of `FAMILIES[kind]`; by default the families take turns.
        size: (width, height) in pixels, 64 to 8192; by default GDXray's sizes, 768 x 572 the most common.

    Raises:
        InputError: an argument is outside its range.

    """
    _check(kind, seed, index, style, family, size)
    family = family or family_of(kind, seed, index)
    rng = np.random.default_rng([seed, index, sorted(FAMILIES).index(kind), STYLES.index(style)])
    module = castings if kind == "castings" else welds
    drawn = module.FULL_SIZES[int(rng.integers(len(module.FULL_SIZES)))] if style == "full" else module.PLAIN_SIZE
    pixels, defects, pixel_mm = module.make_radiograph(rng, family, size or drawn, style == "plain")
    return Phantom(
        pixels, np.array([_box(d) for d in defects], np.float64).reshape(-1, 4), [d.kind for d in defects],
        np.array([d.depth_mm for d in defects], np.float64), [(d.x0, d.y0, d.mask) for d in defects],
        family, float(pixel_mm),
    )  # fmt: skip


def family_of(kind: str, seed: int, index: int) -> str:
    """Return the family that `make_phantom` chooses where none is given."""
    cycle = _CASTING_CYCLE if kind == "castings" else FAMILIES[kind]
    return cycle[(seed + index) % len(cycle)]


def _box(defect: Defect) -> tuple[float, float, float, float]:
    height, width = defect.mask.shape
    return (defect.x0, defect.y0, defect.x0 + width, defect.y0 + height)


def _check(kind: str, seed: int, index: int, style: str, family: str | None, size: tuple[int, int] | None) -> None:
    """Raise InputError unless the arguments of `make_phantom` are in range."""
    if kind not in FAMILIES:
        raise InputError(f"kind {kind!r} is unknown; choose one of {sorted(FAMILIES)}")
    if style not in STYLES:
        raise InputError(f"style {style!r} is unknown; choose one of {list(STYLES)}")
    if family is not None and family not in FAMILIES[kind]:
        raise InputError(f"family {family!r} is unknown for {kind}; choose one of {list(FAMILIES[kind])}")
    if seed < 0 or index < 0:
        raise InputError(f"seed {seed} and index {index} must be 0 or more")
    if size is not None and not all(_SMALLEST_SIDE <= side <= _LARGEST_SIDE for side in size):
        raise InputError(f"size {size[0]}x{size[1]} must be {_SMALLEST_SIDE} to {_LARGEST_SIDE} pixels a side")


def write_phantoms(kind: str, n: int, out: str | Path, seed: int, *, bits: int = 8, style: str = "full",
                   family: str | None = None, size: tuple[int, int] | None = None,
                   workers: int | None = None) -> Path:  # fmt: skip
    """Write a data set of phantoms in GDXray's layout and return the path of its COCO annotations.

    `OUT/Castings/C0001/C0001_0001.png` and so on with a `ground_truth.txt` (image_id x1 x2 y1 y2) a series, one
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
    _check(kind, seed, 0, style, family, size)
    if n < 1 or bits not in (8, 16) or (workers is not None and workers < 1):
        raise InputError(f"n {n} and workers {workers} must be 1 or more, and bits {bits} be 8 or 16")
    parameters = {"kind": kind, "n": n, "seed": seed, "bits": bits, "style": style, "family": family,
                  "size": None if size is None else list(size)}  # fmt: skip
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
    for count, name in enumerate((name for name in FAMILIES[kind] if name in drawn), start=1):
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
    most = 2**bits - 1
    _write_png(out / name, np.round(phantom.pixels * most).astype(np.uint8 if bits == 8 else np.uint16))
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
        _write_png(out / f"Welds/W0002/W0002_{number:04d}.png", whole * 255)
    image = {"file_name": name, "width": width, "height": height, "series": series, "number": number,
             "family": phantom.family, "pixel_size_mm": phantom.pixel_size_mm}  # fmt: skip
    return {"image": image, "annotations": annotations}


def _write_png(path: Path, pixels: np.ndarray) -> None:
    with atomic_path(path) as temporary:
        if not cv2.imwrite(str(temporary), pixels):
            raise OSError(f"{path} could not be written")


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


def write_montage(annotations: str | Path, columns: int = 4, rows: int = 4) -> Path:
    """Write `montage.png` beside the annotations: radiographs spread over the set, defects boxed. Return its path."""
    annotations = Path(annotations)
    dataset = json.loads(annotations.read_text(encoding="utf-8"))
    spread = np.linspace(0, len(dataset["images"]) - 1, min(columns * rows, len(dataset["images"]))).astype(int)
    tiles = []
    for image in (dataset["images"][k] for k in spread):
        grey = cv2.imread(str(annotations.parent / image["file_name"]), cv2.IMREAD_UNCHANGED)
        if grey.dtype == np.uint16:
            grey = (grey / 257).astype(np.uint8)
        scale = min(384 / image["width"], 288 / image["height"])
        tile = np.zeros((288, 384, 3), np.uint8)
        small = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        tile[: small.shape[0], : small.shape[1]] = small[:, :, None]
        for x, y, width, height in (a["bbox"] for a in dataset["annotations"] if a["image_id"] == image["id"]):
            corners = [(int((x - 4) * scale), int((y - 4) * scale)),
                       (int((x + width + 4) * scale), int((y + height + 4) * scale))]  # fmt: skip
            cv2.rectangle(tile, *corners, (60, 60, 255), 1)
        tiles.append(tile)
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    path = annotations.parent / "montage.png"
    _write_png(path, np.vstack([np.hstack(tiles[k : k + columns]) for k in range(0, len(tiles), columns)]))
    return path
