"""Probability of detection on a user's own part: simulated flaws of graded size and contrast in his radiographs.

Flaws are put where nothing is known to be: clear of annotated defects, and of places where the detector calls anyway,
so that a call is the flaw's. Everything that comes out is about simulated flaws; real ones differ in shape and edges.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from data.coco import CocoDataset
from data.console import progress
from data.errors import InputError
from data.image_paths import existing_image
from data.masks import CATEGORIES
from data.records import Annotation, ImageRecord
from data.synthesis.canvas import log_uniform
from data.synthesis.graded_flaws import plant_flaw
from data.synthesis.visible_defects import RadiographSurvey, survey
from detectors.decisions.readings import pixels_of
from detectors.decisions.rules import ELSEWHERE
from detectors.decisions.zones import DrawnZones
from detectors.evaluation.matching import MatchTable, find_overlaps
from detectors.evaluation.pod import PodFit, fit_pod
from detectors.evaluation.pod_surface import CONTRAST_KEY, PodSurface, pod_surface
from detectors.interface import Detections
from detectors.runs.inference import detect_in_pixels
from detectors.runs.prediction import Predictor
from detectors.runs.reading import coco_results, read_sized

SIZES = (5.0, 60.0)  # pixels, drawn logarithmically
GRADES = (1.5, 3.0, 6.0, 12.0, 24.0)
FLAWS = 12  # of one copy of a radiograph
MOST_TRIALS = 12  # places tried a flaw
ANYWAY = 0.5  # of the threshold, from which a call in the untouched radiograph keeps flaws away
WHOLE = "whole part"


@dataclass(frozen=True)
class Annotated:
    """Annotated defects, of one class, and the calls in the untouched radiographs matched to them by center point."""

    dataset: CocoDataset
    matches: MatchTable


@dataclass(frozen=True)
class ProbedPart:
    """Simulated flaws and what was found of them.

    Attributes:
        dataset: an image for each copy of a radiograph (`file_name` is the radiograph's), and the flaws.
        matches: flaws against calls, by center point.
        threshold: the score from which a call counts.
        zone: the zones of each flaw, by annotation id; one flaw may lie in several.
        refused: radiographs on which the zones could not be placed, with the reason.
        shape: height and width of the first radiograph; the map of blind places is of those of the same size.
        real: the annotated defects with their measured contrast, and what was found of them in the untouched
            radiographs; None without annotations.

    """

    dataset: CocoDataset
    matches: MatchTable
    threshold: float
    zone: dict[int, tuple[str, ...]]
    refused: dict[str, str]
    shape: tuple[int, int]
    real: Annotated | None = None

    @property
    def surface(self) -> PodSurface:
        """What is found by size and contrast-to-noise."""
        return pod_surface(self.dataset, self.matches, self.threshold)

    def found(self) -> dict[int, bool]:
        """Return whether each flaw was found, by annotation id."""
        ids = self.matches.ground_truth.ids.tolist()
        return dict(zip(ids, (self.matches.found_score >= self.threshold).tolist(), strict=True))


def probe_part(
    predictor: Predictor,
    dataset: CocoDataset,
    folder: Path,
    threshold: float,
    copies: int = 2,
    zones: DrawnZones | None = None,
    seed: int = 0,
) -> ProbedPart:
    """Put simulated flaws into radiographs and detect them.

    Args:
        predictor: of the run.
        dataset: the radiographs, with annotations where defects are known.
        folder: where their file names start.
        threshold: score from which a call counts.
        copies: of each radiograph, with other flaws each.
        zones: drawn on the part, if results by zone are wanted.
        seed: of every random choice.

    Raises InputError where no flaw has room in any radiograph.

    """
    images: list[ImageRecord] = []
    flaws: list[Annotation] = []
    results: list[dict[str, Any]] = []
    zone: dict[int, tuple[str, ...]] = {}
    refused: dict[str, str] = {}
    shape = (0, 0)
    real: list[Annotation] = []
    real_results: list[dict[str, Any]] = []
    with progress() as bar:
        task = bar.add_task("simulated flaws", total=len(dataset.images) * (copies + 1))
        for index, image in enumerate(dataset.images):
            radiograph = read_sized(existing_image(folder, image), predictor.window, (image["width"], image["height"]))
            pixels = radiograph.pixels
            shape = shape if images else (pixels.shape[0], pixels.shape[1])
            calls = detect_in_pixels(predictor.model, pixels, predictor.device)[0]
            bar.advance(task)
            known = calls["boxes"][calls["scores"] >= ANYWAY * threshold].numpy()
            offer = survey(pixels, np.concatenate([dataset.boxes_xyxy(image["id"]), known]))
            real += _with_contrast(dataset.annotations_of(image["id"]), pixels, offer)
            real_results += coco_results(image["id"], _one_class(calls), CATEGORIES)
            placed = zones.carry(radiograph.display()) if zones is not None else None
            if placed is not None and placed.refused:
                refused[image["file_name"]] = placed.refused
            for copy in range(copies):
                rng = np.random.default_rng([seed, index, copy])
                changed = np.array(pixels, np.float32)
                taken = np.zeros(offer.noise.shape, bool)
                record = image.copy()
                record["id"] = len(images) + 1
                for _ in range(FLAWS if len(offer.usable) else 0):
                    wanted, grade = log_uniform(rng, *SIZES), float(rng.choice(GRADES))
                    for _ in range(MOST_TRIALS):
                        y, x = offer.usable[int(rng.integers(len(offer.usable)))] * 4 + rng.integers(0, 4, 2)
                        flaw = plant_flaw(
                            changed, offer, rng, wanted, grade, (int(x), int(y)), taken, radiograph.full_scale
                        )
                        if flaw is not None:
                            break
                    if flaw is None:
                        continue
                    x1, y1, x2, y2 = flaw.box
                    flaws.append({
                        "id": len(flaws) + 1, "image_id": record["id"], "category_id": 1, "iscrowd": 0,
                        "bbox": [float(x1), float(y1), float(x2 - x1), float(y2 - y1)],
                        "area": float((x2 - x1) * (y2 - y1)), "simulated": True, CONTRAST_KEY: grade,
                    })  # fmt: skip
                    if placed is not None and not placed.refused:
                        zone[len(flaws)] = _zones_of(np.array(flaw.box, float), placed.masks)
                detections = detect_in_pixels(predictor.model, changed, predictor.device)[0]
                images.append(record)
                results += coco_results(
                    record["id"], {**detections, "labels": detections["labels"] * 0 + 1}, CATEGORIES
                )
                bar.advance(task)
    if not flaws:
        raise InputError(f"{folder}: no simulated flaw has room in any of {len(dataset.images)} radiographs")
    probed = CocoDataset(images, flaws, CATEGORIES, info={"simulated": True})
    matches = find_overlaps(probed, results).match(criterion="center")
    annotated = None
    if real:
        known_defects = CocoDataset(dataset.images, real, CATEGORIES)
        annotated = Annotated(known_defects, find_overlaps(known_defects, real_results).match(criterion="center"))
    return ProbedPart(probed, matches, threshold, zone, refused, shape, annotated)


def _one_class(detections: Detections) -> dict[str, torch.Tensor]:
    """Return detections whose classes are all the first one: a flaw is found whatever it is called."""
    return {**detections, "labels": torch.ones_like(detections["labels"])}


def _with_contrast(
    annotations: Sequence[Annotation], pixels: np.ndarray, offer: RadiographSurvey
) -> Iterator[Annotation]:
    """Yield annotations as one class, with the contrast-to-noise ratio that can be measured at their boxes.

    It is the largest of the calmed gray values in the box over the median along its outline, over the local noise: less
    certain than that of simulated flaws, whose background is known.
    """
    calm = cv2.GaussianBlur(pixels, (0, 0), 1.0)
    for annotation in annotations:
        x, y, w, h = annotation["bbox"]
        x1, y1, x2, y2 = pixels_of(np.array([x, y, x + w, y + h]), pixels.shape)
        inside = calm[y1:y2, x1:x2]
        outline = np.concatenate([inside[0], inside[-1], inside[:, 0], inside[:, -1]])
        noise = float(np.median(offer.noise[y1 // 4 : y2 // 4 + 1, x1 // 4 : x2 // 4 + 1]))
        ratio = (float(inside.max()) - float(np.median(outline))) / noise
        copy = annotation.copy()
        copy.update({"category_id": 1, CONTRAST_KEY: max(ratio, 1e-3)})
        yield copy


def _zones_of(box: np.ndarray, masks: dict[str, np.ndarray] | Any) -> tuple[str, ...]:
    """Return the zones that a box touches, or ELSEWHERE."""
    inside = []
    for name, mask in masks.items():
        x1, y1, x2, y2 = pixels_of(box, mask.shape)
        if mask[y1:y2, x1:x2].any():
            inside.append(name)
    return tuple(inside) or (ELSEWHERE,)


@dataclass(frozen=True)
class ZoneFit:
    """POD in one zone: against contrast-to-noise over all sizes (`grade` None), or against size at one ratio.

    `fit` is the curve, None where `refused` says why there is none.
    """

    zone: str
    grade: float | None
    flaws: int
    found: int
    fit: PodFit | None
    refused: str


def fits_by_zone(probed: ProbedPart) -> list[ZoneFit]:
    """Return the fits of the whole part and of every zone: against contrast, then against size at each contrast."""
    names = [WHOLE, *sorted({name for names in probed.zone.values() for name in names})]
    found = probed.found()
    rows = []
    for name in names:
        inside = [a for a in probed.dataset.annotations if name == WHOLE or name in probed.zone.get(a["id"], ())]
        for grade in (None, *GRADES):
            chosen = [a for a in inside if grade is None or a.get(CONTRAST_KEY) == grade]
            size = np.array([np.sqrt(a["bbox"][2] * a["bbox"][3]) for a in chosen])
            ratio = np.array([a.get(CONTRAST_KEY, 0.0) for a in chosen])
            hit = np.array([found[a["id"]] for a in chosen], dtype=bool)
            fit, refused = None, ""
            try:
                fit = fit_pod(ratio if grade is None else size, hit)
            except InputError as error:
                refused = str(error).replace("size", "contrast") if grade is None else str(error)
            rows.append(ZoneFit(name, grade, len(chosen), int(hit.sum()), fit, refused))
    return rows


def blind_map(probed: ProbedPart, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the share found around every place, and the number of flaws that it rests on, float64 [H, W] each.

    Flaws weigh by a Gaussian of `reach` pixels. Only radiographs of the first one's size count, and all of them are
    taken to show the same view.
    """
    height, width = probed.shape
    weight = np.zeros((2, height, width))
    found = probed.found()
    same = {image["id"] for image in probed.dataset.images if (image["height"], image["width"]) == probed.shape}
    for annotation in probed.dataset.annotations:
        if annotation["image_id"] in same:
            x, y, w, h = annotation["bbox"]
            place = min(int(y + h / 2), height - 1), min(int(x + w / 2), width - 1)
            weight[0][place] += 1
            weight[1][place] += found[annotation["id"]]
    total, hits = (cv2.GaussianBlur(layer, (0, 0), reach, borderType=cv2.BORDER_CONSTANT) for layer in weight)
    number = total * 2 * np.pi * reach**2  # 1 at the place of one flaw
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, hits / total, np.nan), number


def flaw_rows(probed: ProbedPart) -> list[list[Any]]:
    """Return a row for each flaw: file, box, size, contrast-to-noise, zones, found, and the score of its call."""
    score = dict(zip(probed.matches.ground_truth.ids.tolist(), probed.matches.found_score.tolist(), strict=True))
    names = {image["id"]: image["file_name"] for image in probed.dataset.images}
    found = probed.found()
    return [
        [names[a["image_id"]], *a["bbox"], round(float(np.sqrt(a["bbox"][2] * a["bbox"][3])), 2), a.get(CONTRAST_KEY),
         " ".join(probed.zone.get(a["id"], ())), int(found[a["id"]]),
         None if np.isinf(score[a["id"]]) else round(score[a["id"]], 4)]
        for a in probed.dataset.annotations
    ]  # fmt: skip


FLAW_COLUMNS: Sequence[str] = ("file_name", "x", "y", "width", "height", "size_px", "contrast_to_noise", "zones",
                               "found", "score")  # fmt: skip
