"""Fit a detector to a part from its radiographs alone, without a label.

Most of the radiographs are taken to be defect-free, and not surely so: where the detector to start from calls, even
weakly, nothing is learned. Simulated defects are the positives, everything else the negatives. Some radiographs
are held back: simulated defects in them choose the best weights, and calls on them as they are set the threshold.
"""

import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from data.coco import CocoDataset, write_coco
from data.console import progress
from data.errors import InputError
from data.files import write_json
from data.gray_window import GrayWindow
from data.image_paths import existing_image
from data.masks import CATEGORIES
from data.radiograph import find_radiographs, image_record, read_radiograph
from data.records import Annotation, ImageRecord
from data.synthesis.simulated_set import write_simulated
from data.synthesis.simulation_config import SimulationConfig
from data.synthesis.visible_defects import survey
from detectors.config.files import read_config
from detectors.config.window import gray_window
from detectors.evaluation.pod_surface import PodSurface, plot_pod_surface, pod_surface
from detectors.evaluation.runs import read_run
from detectors.evaluation.threshold import choose_threshold, write_threshold
from detectors.experiments.adaptation_page import write_page
from detectors.runs.prediction import Predictor, predict_files
from detectors.runs.reevaluate import evaluate_run
from detectors.training import train

UNKNOWN = 0.1  # score of the detector to start from, from which a place is neither defect nor background
HELD_BACK = 0.2  # of the radiographs, at the end of the list: neighbors are alike
FEWEST = 4  # radiographs; of fewer none can be held back
LEAST_METAL = 0.01  # of a radiograph, where a defect could show at all
LONGEST = 3.0  # over the shorter side; weld films are longer, castings are not
SIMULATED_PER_IMAGE = 6


@dataclass(frozen=True)
class Adaptation:
    """What `adapt` made: the run, its threshold and page, and what it measured on the radiographs held back."""

    run: Path
    page: Path
    threshold: float
    calls_per_image: float
    recall_before: float
    recall: float
    surface: PodSurface


def adapt(
    radiographs: Sequence[Path], start: Path, out: Path, false_calls: float = 1.0, overrides: Sequence[str] = ()
) -> Adaptation:
    """Fit a CenterNet to the part that the radiographs show; write a run, its threshold and a page into `out`.

    Args:
        radiographs: files, or folders that are searched: at least 4 different ones, mostly defect-free.
        start: the run or packaged weights to start from.
        out: a new folder.
        false_calls: wanted calls an image on the radiographs held back, 0 or more.
        overrides: fields of the configuration adapt.yaml, such as train.epochs=2.

    Raises:
        InputError: too few radiographs, one without metal or like a weld film, another kind of detector, or an
            `out` that holds something. Nothing is written then.

    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and holds something; give --out a folder that is new or empty")
    if false_calls < 0:
        raise InputError(f"wanted false calls {false_calls} an image: must be 0 or more, such as 0.5")
    teacher = Predictor(start)
    if teacher.config.model.name != "center_net":
        raise InputError(
            f"{start}: it is a {teacher.config.model.name}; only a center_net can leave places out of training"
        )
    files = _distinct(find_radiographs(radiographs))
    folder = Path(os.path.commonpath([file.parent for file in files]))
    window = gray_window(read_config("adapt", overrides).data)
    images = _checked(files, folder, window)
    unknown = _unknown_places(teacher, images, folder)
    held = max(2, round(HELD_BACK * len(images)))
    data = out / "data"
    plain = data / "held_back.json"
    known = {image["id"] for image in images[-held:]}
    learned = [a for a in unknown if a["image_id"] not in known]
    write_coco(data / "train.json", CocoDataset(images[:-held], learned, CATEGORIES, info={"unknown_from": UNKNOWN}))
    write_coco(plain, CocoDataset(images[-held:], [a for a in unknown if a["image_id"] in known], CATEGORIES))
    simulation = SimulationConfig(shapes="varied")
    simulated = write_simulated(
        CocoDataset(images[-held:], [], CATEGORIES),
        folder,
        data / "simulated",
        simulation,
        SIMULATED_PER_IMAGE,
        seed=1,
        window=window,
    )
    _, before = evaluate_run(start, simulated, simulated.parent, out / "before")
    config = read_config(
        "adapt",
        [
            f"output={out}",
            "name=run",
            f"model={_section(teacher, start)}",
            f"data.train.0.json={data / 'train.json'}",
            f"data.train.0.images={folder}",
            f"data.val.json={simulated}",
            f"data.val.images={simulated.parent}",
            *overrides,
        ],
    )
    run, after = train(config)
    threshold = _threshold(run, plain, folder, out, false_calls)
    evaluated = read_run(run)
    matches = evaluated.overlaps.match(criterion="center")
    surface = pod_surface(evaluated.dataset, matches, threshold["threshold"])
    plot_pod_surface(surface, out / "plots" / "pod_surface.png", "Simulated defects found in your own radiographs")
    predict_files(
        Predictor(run), [existing_image(folder, image) for image in images], out / "found", threshold["threshold"]
    )
    recall = float(surface.found.sum() / max(surface.all.sum(), 1))
    record: dict[str, Any] = {
        "radiographs": len(images), "held_back": held, "left_out_places": len(unknown), "threshold": threshold,
        "recall_of_simulated_defects": recall, "before": before, "after": after, "pod": surface.rows(),
    }  # fmt: skip
    write_json(out / "adaptation.json", record, indent=1)
    page = write_page(out, record)
    return Adaptation(run, page, threshold["threshold"], threshold["false_calls_per_image"],
                      float(before.get("sensitivity_at_1_call") or 0), recall, surface)  # fmt: skip


def _section(teacher: Predictor, start: Path) -> str:
    """Return the model section of the detector to start from, with its weights, as an override holds it."""
    section = teacher.config.model.model_dump(mode="json") | {"weights": str(start)}
    return yaml.safe_dump(section, default_flow_style=True, width=10**6).strip()


def _distinct(files: Sequence[Path]) -> list[Path]:
    """Return the files without copies of others. Raises InputError where too few are left."""
    seen: dict[str, Path] = {}
    for file in files:
        seen.setdefault(hashlib.sha256(file.read_bytes()).hexdigest(), file)
    if len(seen) < FEWEST:
        copies = f" ({len(files) - len(seen)} are copies of others)" if len(seen) < len(files) else ""
        raise InputError(
            f"{files[0].parent}: {len(seen)} different radiographs{copies}; at least {FEWEST} are needed, "
            "and some tens are better"
        )
    return list(seen.values())


def _checked(files: Sequence[Path], folder: Path, window: GrayWindow) -> list[ImageRecord]:
    """Return the COCO image records of the files. Raises InputError for what is no radiograph of a casting."""
    images: list[ImageRecord] = []
    with progress(transient=True) as bar:
        task = bar.add_task("reading", total=len(files))
        for number, file in enumerate(files, start=1):
            record = image_record(number, file, file.relative_to(folder).as_posix())
            longer, shorter = max(record["width"], record["height"]), min(record["width"], record["height"])
            if longer > LONGEST * shorter:
                raise InputError(
                    f"{file}: {record['width']} x {record['height']} pixels look like a weld film; "
                    "give radiographs of castings, or sections of at most 3 : 1"
                )
            offer = survey(read_radiograph(file, window=window).pixels)
            if len(offer.usable) < LEAST_METAL * offer.noise.size:
                raise InputError(f"{file}: no metal in which a defect could show (black, white or flat); leave it out")
            images.append(record)
            bar.advance(task)
    return images


def _unknown_places(teacher: Predictor, images: Sequence[ImageRecord], folder: Path) -> list[Annotation]:
    """Return crowd annotations where the detector to start from calls at a score of `UNKNOWN` or more."""
    found: list[Annotation] = []
    with progress(transient=True) as bar:
        task = bar.add_task("looking for what may be defects", total=len(images))
        for image in images:
            detections = teacher(existing_image(folder, image))
            boxes = detections["boxes"][detections["scores"] >= UNKNOWN].tolist()
            found += [
                {"id": len(found) + k, "image_id": image["id"], "category_id": 1, "iscrowd": 1,
                 "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}
                for k, (x1, y1, x2, y2) in enumerate(boxes, start=1)
            ]  # fmt: skip
            bar.advance(task)
    return found


def _threshold(run: Path, plain: Path, folder: Path, out: Path, wanted: float) -> dict[str, Any]:
    """Choose and store the lowest score with at most `wanted` calls an image on the radiographs held back.

    Calls at places that the first detector called too do not count: they may be defects.
    """
    evaluate_run(run, plain, folder, out / "held_back")
    table = read_run(out / "held_back").overlaps.match(criterion="center")
    scores = table.detections.score
    try:
        choice = choose_threshold(table, false_calls=wanted)
    except InputError:  # no detection at all, or the highest scores, all equal, already make more
        choice = {"threshold": math.nextafter(float(scores.max(initial=0.5)), math.inf), "false_calls_per_image": 0.0,
                  "goal": {"false_calls_per_image": wanted}, "criterion": "center"}  # fmt: skip
    write_threshold(run, choice, out / "held_back")
    return choice
