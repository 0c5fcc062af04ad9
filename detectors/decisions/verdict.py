"""Accept, reject or look again: rules applied to the indications of one radiograph, with the numbers that decided."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from detectors.decisions.indications import Errors, Indications
from detectors.decisions.readings import MEASURES, Limits, Reading, pixels_of
from detectors.decisions.rules import ELSEWHERE, LEAST, PART, Rule, Rules
from detectors.decisions.size_error import NO_ERROR, SizeError

Verdict = Literal["accept", "look again", "reject"]
ORDER: tuple[Verdict, ...] = ("accept", "look again", "reject")
ROUNDING = 1e-9  # relative; a pore of 20 px of 0.1 mm is 2 mm, whatever floating point makes of it


@dataclass(frozen=True)
class Zones:
    """Where the zones lie in one radiograph.

    Attributes:
        masks: bool [H, W] by name.
        refused: why they are not known there, with the residual; empty where they are.

    """

    masks: Mapping[str, NDArray[np.bool_]]
    refused: str = ""


@dataclass(frozen=True)
class Finding:
    """What one rule says of one radiograph; `value`, `low`, `high` and `limit` are in the unit of the rules.

    `value` is None where nothing was measured, `low` and `high` may be infinite. `rows` are the places of the
    indications behind it in the detections.
    """

    rule: Rule
    verdict: Verdict
    value: float | None
    low: float
    high: float
    unit: str
    rows: tuple[int, ...]
    note: str

    @property
    def sentence(self) -> str:
        """What was measured, and what the rule wants, in words."""
        bound = "at least" if self.rule.measure in LEAST else "at most"
        wanted = f"{bound} {self.rule.limit:g} {self.unit}".rstrip()
        if self.note:
            return f"{self.note}; wanted {wanted}"
        if self.value is None:
            return f"nothing to measure; wanted {wanted}"
        sure = abs(self.low - self.value) < 5e-4 and abs(self.high - self.value) < 5e-4
        between = "" if sure else f" (between {_short(self.low)} and {_short(self.high)})"
        return (
            f"{self.rule.measure.replace('_', ' ')} {self.value:.4g} {self.unit}".rstrip()
            + between
            + (f"; wanted {wanted}")
        )


@dataclass(frozen=True)
class Decision:
    """The verdict on one radiograph, what every rule says, the worst first, and why it is not a familiar one, if so."""

    verdict: Verdict
    findings: tuple[Finding, ...]
    alarm: str = ""

    @property
    def deciding(self) -> tuple[Finding, ...]:
        """The findings that led to the verdict; none where it is accepted."""
        return tuple(f for f in self.findings if f.verdict == self.verdict and self.verdict != "accept")

    @property
    def reasons(self) -> list[str]:
        """Why it is not accepted, in words; nothing where it is."""
        said = [f"{finding.rule.name}: {finding.sentence}" for finding in self.deciding]
        return [*said, self.alarm] if self.alarm else said


@dataclass(frozen=True)
class Detected:
    """All detections in one radiograph.

    `row` int64 [N] are their places in the results; `box` float64 [N, 4] is x1 y1 x2 y2 in pixels; `score` [N];
    `name` are the N class names.
    """

    row: NDArray[np.int64]
    box: NDArray[np.float64]
    score: NDArray[np.float64]
    name: NDArray[np.object_]


def decide(
    rules: Rules,
    found: Detected,
    scores: tuple[float, float],
    pixel: float = 1.0,
    size_error: SizeError = NO_ERROR,
    zones: Zones | None = None,
    part: NDArray[np.bool_] | None = None,
) -> Decision:
    """Apply rules to one radiograph.

    Args:
        rules: whose names were checked (`detectors.decisions.rules.check_names`).
        found: the detections, of any score.
        scores: from the first one on they may lead to "look again", from the second one on to "reject".
        pixel: side of a pixel in the unit of the rules; 1 where that is px.
        size_error: of the boxes, in pixels.
        zones: where the zones lie; needed where a rule speaks of any.
        part: bool [H, W], the part against air; needed where a rule speaks of its edge.

    """
    keep = found.score >= scores[0]
    everything = Indications(found.row[keep], found.box[keep], found.score[keep] >= scores[1])
    names = found.name[keep]
    errors = Errors(size_error, rules.measurement_error / pixel)
    if zones is not None and not zones.refused:
        shown = np.array([not _inside(box, zones, rules.ignore_zones) for box in everything.box], dtype=bool)
        everything, names = everything.where(shown), names[shown]
    findings = [_apply(rule, rules, everything, names, pixel, errors, zones, part) for rule in rules.rules]
    findings.sort(key=lambda finding: -ORDER.index(finding.verdict))
    return Decision(findings[0].verdict, tuple(findings))


def _apply(
    rule: Rule,
    rules: Rules,
    found: Indications,
    names: NDArray[np.object_],
    pixel: float,
    errors: Errors,
    zones: Zones | None,
    part: NDArray[np.bool_] | None,
) -> Finding:
    """Return what one rule says."""
    power = 0 if rule.measure == "number" else 2 if rule.measure in ("area", "total_area") else 1
    scale = pixel**power
    unit = ("", rules.unit, f"{rules.unit}²")[power]
    of_zones = bool(rule.zones) or rule.edge_of not in (None, PART) or bool(rules.ignore_zones)
    if of_zones and (zones is None or zones.refused):
        note = zones.refused if zones is not None else "the zones are not known"
        return Finding(rule, "look again", None, 0.0, np.inf, unit, tuple(found.row.tolist()), note)
    chosen = np.ones(len(found), dtype=bool)
    if rule.classes is not None:
        chosen &= np.isin(names.astype(str), rule.classes)
    if rule.zones is not None and zones is not None:
        chosen &= np.array([_touches(box, zones, rule.zones) for box in found.box], dtype=bool)
    mask = part if rule.edge_of == PART else zones.masks[rule.edge_of] if zones is not None and rule.edge_of else None
    if mask is not None and rule.edge_of != PART:
        chosen &= np.array([bool(_in_box(mask, box).any()) for box in found.box], dtype=bool)
    reading = MEASURES[rule.measure](
        found.where(chosen),
        Limits(
            rule.limit / scale,
            None if rule.merge_within is None else rule.merge_within / pixel,
            None if rule.reference_side is None else rule.reference_side / pixel,
            errors,
            mask,
        ),
    )
    value = None if reading.value is None else reading.value * scale
    return Finding(
        rule, _compare(rule, reading, scale), value, reading.low * scale, reading.high * scale, unit, reading.rows,
        reading.note,
    )  # fmt: skip


def _compare(rule: Rule, reading: Reading, scale: float) -> Verdict:
    """Return what a reading in pixels says of a limit."""
    low, high, limit = reading.low * scale, reading.high * scale, rule.limit
    slack = ROUNDING * limit
    if rule.measure in LEAST:
        low, high, limit = -high, -low, -limit
    if low > limit + slack:
        return "reject"
    return "look again" if high > limit + slack else "accept"


def _touches(box: NDArray[np.float64], zones: Zones, names: Sequence[str]) -> bool:
    """Return whether a box touches any of the zones, or what none covers."""
    for name in names:
        if name == ELSEWHERE:
            if not np.logical_or.reduce([_in_box(mask, box) for mask in zones.masks.values()]).all():
                return True
        elif _in_box(zones.masks[name], box).any():
            return True
    return False


def _inside(box: NDArray[np.float64], zones: Zones, names: Sequence[str]) -> bool:
    """Return whether a box lies wholly inside of one of the zones."""
    return any(bool(_in_box(zones.masks[name], box).all()) for name in names)


def _in_box(mask: NDArray[np.bool_], box: NDArray[np.float64]) -> NDArray[np.bool_]:
    x1, y1, x2, y2 = pixels_of(box, mask.shape)
    return mask[y1:y2, x1:x2]


def _short(value: float) -> str:
    return "any" if np.isinf(value) else f"{value:.4g}"
