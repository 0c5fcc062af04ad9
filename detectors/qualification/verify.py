"""Check a bundle: whether its files are what was frozen, and its answers on this machine what they were."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import InputError
from detectors.qualification.bundle import SUMS, Bundle, answer, hashes, library_versions, read_bundle
from detectors.qualification.overrides import check_log
from detectors.runtime.opening import open_predictor
from detectors.version import __version__

SAME_IOU, SAME_SCORE = 0.99, 1e-3  # as the parity of exported models: rounding differs from machine to machine


@dataclass(frozen=True)
class Verification:
    """What a check found.

    Attributes:
        differences: what is not as it was qualified, one line each; empty means that the bundle holds.
        notes: what is different and changes no answer, such as versions of libraries.
        references: number of reference radiographs that were tried.
        overrides: number of lines in the log of overrides.
        head: hash that stands for the whole log of overrides.
        seal: hash of `bundle.json`.

    """

    differences: list[str]
    notes: list[str]
    references: int
    overrides: int
    head: str
    seal: str

    @property
    def holds(self) -> bool:
        """Whether nothing differs."""
        return not self.differences


def verify(folder: Path, seal: str | None = None, head: str | None = None) -> Verification:
    """Return whether a bundle still gives the answers that it was qualified with.

    Args:
        folder: the bundle.
        seal: hash of `bundle.json` that was noted elsewhere at the freeze; an altered bundle cannot have it.
        head: hash of the last override that was noted elsewhere; a log without that line cannot have it.

    Raises InputError for a folder that is no bundle, and for a bundle with a missing file.

    """
    bundle = read_bundle(folder)
    differences = list(_changed_files(bundle))
    if seal is not None and seal != bundle.seal:
        differences.append(f"bundle.json has the hash {bundle.seal}, not the seal {seal} that you gave")
    log = check_log(folder, bundle.seal)
    differences += log.issues
    if head is not None and head not in log.hashes:
        differences.append(f"overrides: no line has the hash {head} that you gave: lines were removed or rewritten")
    changed_versions = list(_changed_versions(bundle.record))
    if any(name in line for line in differences for name in (str(bundle.record["model"]), "references/")):
        return Verification(differences, changed_versions, 0, len(log.entries), log.head, bundle.seal)
    wrong, tried = _changed_answers(bundle)
    notes: list[str] = []
    if wrong:
        differences += wrong
        differences += [f"perhaps because {line}" for line in changed_versions]
    else:
        notes = changed_versions
    return Verification(differences, notes, tried, len(log.entries), log.head, bundle.seal)


def _changed_files(bundle: Bundle) -> Iterator[str]:
    """Yield a line for every file that is not what was frozen, or that has come since."""
    frozen: dict[str, str] = bundle.record["files"]
    lines = (bundle.folder / SUMS).read_text(encoding="utf-8").splitlines()
    pairs = [line.split("  ", 1) for line in lines if "  " in line]
    sums = {name: digest for digest, name in pairs}
    for name, digest in hashes(bundle.folder).items():
        stated = sums.get(name)
        if stated is None:
            yield f"{name}: was not there when the bundle was frozen"
        elif digest != stated or (name in frozen and digest != frozen[name]):
            yield f"{name}: is not the file that was frozen (its SHA-256 differs)"


def _changed_versions(record: dict[str, Any]) -> Iterator[str]:
    """Yield a line for every library of another version than at the freeze."""
    now = {**library_versions(), "toolkit": __version__}
    then = {**record.get("versions", {}), "toolkit": record.get("toolkit")}
    for name, version in then.items():
        if now.get(name) != version:
            yield f"{name} is {now.get(name) or 'not installed'}, and was {version or 'not installed'}"


def _changed_answers(bundle: Bundle) -> tuple[list[str], int]:
    """Return a line for every answer on the references that is not the one of the freeze, and how many were tried."""
    threshold = float(bundle.record["threshold"])
    try:
        predictor, own = open_predictor(bundle.model)
    except InputError as error:
        return [f"the model cannot be opened: {error}"], 0
    lines = []
    if abs(own - threshold) > 1e-12:
        lines.append(f"threshold: the model reports from {own:g}, and was qualified at {threshold:g}")
    references: Sequence[dict[str, Any]] = bundle.record["references"]
    for reference in references:
        file = bundle.folder / reference["file_name"]
        lines += [
            f"{reference['file_name']}: {line}"
            for line in compare(reference["detections"], answer(predictor, file, threshold), threshold)
        ]
    return lines, len(references)


def compare(expected: Sequence[dict[str, Any]], found: Sequence[dict[str, Any]], threshold: float) -> list[str]:
    """Return what differs between two answers, in words: detections of at least the threshold in either.

    Two detections are the same if they have one label, an IoU of at least 0.99 and scores within 0.001. The answers go
    down to half the threshold, so that rounding at the threshold itself is no difference.
    """
    lines = []
    for one, other, what in ((expected, found, "is not found any more"), (found, expected, "is new")):
        for detection in one:
            if detection["score"] < threshold:
                continue
            nearest = _nearest(detection, other)
            place = ", ".join(f"{value:.0f}" for value in detection["box"])
            if nearest is None:
                lines.append(f"the detection at {place} (score {detection['score']:.3f}) {what}")
            elif abs(nearest["score"] - detection["score"]) > SAME_SCORE and one is expected:
                lines.append(f"the detection at {place} has score {nearest['score']:.4f}, not {detection['score']:.4f}")
    return lines


def _nearest(detection: dict[str, Any], others: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the detection of the same label and place, None without one."""
    box = np.array(detection["box"])
    best, overlap = None, SAME_IOU
    for other in others:
        if other["label"] != detection["label"]:
            continue
        second = np.array(other["box"])
        shared = np.clip(np.minimum(box[2:], second[2:]) - np.maximum(box[:2], second[:2]), 0, None).prod()
        union = (box[2:] - box[:2]).prod() + (second[2:] - second[:2]).prod() - shared
        if union > 0 and shared / union >= overlap:
            best, overlap = other, float(shared / union)
    return best
