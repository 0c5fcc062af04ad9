"""Predictions written back where an archive keeps them: beside DICOM files as DICOM, beside others as COCO."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data.console import progress
from data.drawing import draw_boxes
from data.errors import InputError
from data.files import write_json
from data.formats.dicom import is_dicom
from data.formats.dicom_results import (
    Indication,
    read_source,
    secondary_capture,
    structured_report,
    write_dicom_file,
)
from data.gray_window import AUTO
from data.radiograph import pixel_size_mm, read_radiograph
from detectors.decisions.acceptance import read_predictions
from detectors.evaluation.runs import read_object
from detectors.runs.output_folder import picture_names, staged_folder


def write_back(predictions: Path, out: Path, threshold: float | None = None, acceptance: Path | None = None) -> int:
    """Write the indications of every radiograph into a folder; return how many radiographs there were.

    A DICOM file gets NAME_capture.dcm and NAME_report.dcm, any other file NAME.coco.json. `index.json`, written last,
    says which belong to which radiograph.

    Args:
        predictions: what `radiograph predict` wrote.
        out: the folder.
        threshold: lowest score of an indication; by default that of the predictions, else 0.5.
        acceptance: `acceptance.json` of the same predictions: verdicts and rules go along.

    Raises InputError; nothing is written then.

    """
    found = read_predictions(predictions)
    lowest = threshold if threshold is not None else found.threshold if found.threshold is not None else 0.5
    verdicts, rules = _decided(acceptance)
    paths = [found.path(image) for image in found.images]
    names = [Path(name).stem for name in picture_names(paths)]
    by_image: dict[int, list[tuple[int, Mapping[str, Any]]]] = {image["id"]: [] for image in found.images}
    for row, result in enumerate(found.results):
        if result["score"] >= lowest:
            by_image[result["image_id"]].append((row, result))
    index = []
    with staged_folder(out, last="index.json") as staged, progress() as bar:
        task = bar.add_task("writing", total=len(paths))
        for image, path, name in zip(found.images, paths, names, strict=True):
            rows = by_image[image["id"]]
            verdict = verdicts.get(image["id"], "")
            if is_dicom(path):
                side = image.get("pixel_size_mm") or pixel_size_mm(path)
                indications = [_indication(row, result, found.names, side, rules) for row, result in rows]
                files = _write_dicom(path, staged, name, indications, verdict)
            else:
                files = [f"{name}.coco.json"]
                write_json(staged / files[0], _sidecar(image, rows, found.names, rules, verdict), indent=1)
            index.append(
                {"radiograph": str(path), "files": files, "indications": len(rows), "verdict": verdict or None}
            )
            bar.advance(task)
        write_json(staged / "index.json", {"threshold": lowest, "radiographs": index}, indent=1)
    return len(paths)


def _decided(path: Path | None) -> tuple[dict[int, str], dict[int, str]]:
    """Return verdicts by image id, and by the row of a detection the rules that decided on it."""
    if path is None:
        return {}, {}
    content = read_object(path / "acceptance.json" if path.is_dir() else path)
    verdicts: dict[int, str] = {}
    rules: dict[int, list[str]] = {}
    try:
        for radiograph in content["radiographs"]:
            verdicts[radiograph["image_id"]] = str(radiograph["verdict"])
            for finding in radiograph["findings"]:
                for one in finding["indications"]:
                    if finding["verdict"] != "accept":
                        rules.setdefault(one["detection"], []).append(str(finding["rule"]))
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: not what radiograph accept wrote ({error}); accept again") from error
    return verdicts, {row: ", ".join(dict.fromkeys(names)) for row, names in rules.items()}


def _indication(
    row: int, result: Mapping[str, Any], names: Mapping[int, str], side: float | None, rules: Mapping[int, str]
) -> Indication:
    x, y, width, height = result["bbox"]
    length = None if side is None else max(width, height) * side
    box = (x, y, x + width, y + height)
    return Indication(names[result["category_id"]], box, length, result["score"], rules.get(row, ""))


def _write_dicom(path: Path, out: Path, name: str, indications: Sequence[Indication], verdict: str) -> list[str]:
    """Write capture and report of a DICOM file and return their names."""
    source = read_source(path)
    pixels = read_radiograph(path, window=AUTO).pixels
    boxes = np.array([one.box for one in indications]).reshape(-1, 4)
    drawn = draw_boxes(pixels, boxes, [one.score for one in indications], (255, 255, 255))[..., 0]
    files = [f"{name}_capture.dcm", f"{name}_report.dcm"]
    write_dicom_file(out / files[0], secondary_capture(source, drawn))
    write_dicom_file(out / files[1], structured_report(source, indications, verdict))
    return files


def _sidecar(
    image: Mapping[str, Any],
    rows: Sequence[tuple[int, Mapping[str, Any]]],
    names: Mapping[int, str],
    rules: Mapping[int, str],
    verdict: str,
) -> dict[str, Any]:
    """Return a COCO file of one radiograph, its indications as annotations with score, length and rule."""
    side = image.get("pixel_size_mm")
    annotations = []
    for number, (row, result) in enumerate(rows, start=1):
        _, _, width, height = result["bbox"]
        annotations.append(
            {
                "id": number,
                "image_id": image["id"],
                "category_id": result["category_id"],
                "bbox": list(result["bbox"]),
                "area": width * height,
                "iscrowd": 0,
                "score": result["score"],
                "length_mm": None if side is None else max(width, height) * side,
                "rule": rules.get(row) or None,
            }
        )
    categories = [{"id": identity, "name": name} for identity, name in names.items()]
    return {
        "info": {"description": "indications of a detector", "verdict": verdict or None},
        "images": [dict(image)],
        "annotations": annotations,
        "categories": categories,
    }
