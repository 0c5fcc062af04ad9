"""What simulated defects are put into: radiographs with their records, checked before anything is written."""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from data.coco import CocoDataset
from data.errors import InputError
from data.formats.dicom import is_dicom
from data.gray_window import GrayWindow
from data.image_paths import existing_image
from data.radiograph import PNG_SUFFIXES, TIFF_SUFFIXES, radiograph_size
from data.records import ImageRecord
from data.synthesis.simulation_config import SimulationConfig


@dataclass(frozen=True)
class Inputs:
    """Radiographs that exist and are as large as their records say.

    Attributes:
        dataset: without radiographs that lie in the output folder.
        paths: of the radiographs, in the order of the data set.
        names: that they are written under, a file's suffix being that of its format.
        category: id of the category of simulated defects.
        parameters: what the results depend on, for the marker of the output folder.
        fingerprint: a hash of the sizes and times of all files that are read.

    """

    dataset: CocoDataset
    paths: list[Path]
    names: list[str]
    category: int
    parameters: dict[str, Any]
    fingerprint: str


def check_inputs(dataset: CocoDataset, image_dir: Path, out: Path, own_names: Sequence[str], config: SimulationConfig,
                 per_image: int, seed: int, bit_depth: int | None, window: GrayWindow | None, generator: int,
                 ) -> Inputs:  # fmt: skip
    """Return what is read, after all checks that can be made beforehand.

    Args:
        dataset: records and annotations of the radiographs.
        image_dir: folder of the radiographs.
        out: folder that is written; what it holds is not read where `dataset` is a folder around it.
        own_names: files of `out` that no radiograph may be written as.
        config: of the defects.
        per_image: defects of a radiograph.
        seed: of the set.
        bit_depth: see `data.radiograph.read_radiograph`.
        window: see `data.radiograph.read_radiograph`.
        generator: version of what draws the defects.

    Raises:
        InputError: a radiograph is missing or has another size than recorded, a category is unknown, a record is not
            JSON, two radiographs would get one file name, or a name leads out of `out` or onto a radiograph.

    """
    dataset = _without(dataset, image_dir, out)
    category = _category_id(dataset, config.category)
    _check_records(dataset)
    paths = [existing_image(image_dir, image) for image in dataset.images]
    names = _output_names(dataset.images, paths, image_dir, out, own_names, bit_depth)
    for image, path in zip(dataset.images, paths, strict=True):
        width, height = radiograph_size(path)
        if (width, height) != (image["width"], image["height"]):
            raise InputError(
                f"{path}: image {image['id']} has {width} x {height} pixels, but the data set says"
                f" {image['width']} x {image['height']}; correct its width and height"
            )
    simulation = config.model_dump(mode="json") | {"per_image": per_image, "seed": seed}
    if bit_depth is not None:
        simulation["bit_depth"] = bit_depth
    if window is not None:
        simulation["window"] = asdict(window)
    parameters = {
        "simulation": simulation,
        "generator": generator,
        "bit_depth": bit_depth,
        "dataset": _digest(dataset, image_dir),
    }
    fingerprint = _fingerprint([*paths, *(Path(name) for name in (config.sizes_from, config.patches_from) if name)])
    return Inputs(dataset, paths, names, category, parameters, fingerprint)


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
    images: list[ImageRecord],
    paths: list[Path],
    image_dir: Path,
    out: Path,
    own_names: Sequence[str],
    bit_depth: int | None,
) -> list[str]:
    """Return the names inside `out` that the radiographs are written under.

    Raises InputError for names that are taken, lead out of `out`, or lie on a radiograph that is read.
    """
    folder, base = out.resolve(), os.path.abspath(image_dir)
    inputs = {path.resolve(): path for path in paths}
    inside = next((path for real, path in inputs.items() if real.is_relative_to(folder)), None)
    if inside is not None:
        raise InputError(f"{inside}: a radiograph that is read lies in the output folder {out}; choose another folder")
    taken: dict[str, int] = dict.fromkeys(own_names, 0)
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
