"""Acceptance rules that the user writes: their schema, and what of them contradicts itself."""

from collections.abc import Sequence
from importlib.resources import files
from itertools import permutations
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from data.errors import InputError
from data.schema import StrictModel
from detectors.config.faults import validated
from detectors.config.yaml_reader import read_yaml
from detectors.fields import Fraction

Measure = Literal["length", "area", "number", "total_length", "total_area", "distance", "edge_distance"]
LEAST = ("distance", "edge_distance")  # measures that must be at least so large; the others at most
MERGING = ("length", "area", "number", "distance")
WINDOWED = ("number", "total_length", "total_area")
ELSEWHERE = "elsewhere"  # what no zone covers
PART = "part"  # as it stands against air, in the radiograph itself
RESERVED = (ELSEWHERE, PART)


class Rule(StrictModel):
    """One limit. Lengths are in the unit of the file, areas in its square."""

    name: str = Field(min_length=1, description="The user's words for it.")
    measure: Measure = Field(description="What is measured; see `detectors.decisions.readings`.")
    most: float | None = Field(None, ge=0, description="The largest value that is accepted.")
    least: float | None = Field(None, gt=0, description="The smallest value that is accepted, of distances.")
    classes: list[str] | None = Field(None, min_length=1, description="Classes that the rule is about; all without.")
    zones: list[str] | None = Field(None, min_length=1, description="Zones that it is about; everywhere without.")
    merge_within: float | None = Field(None, ge=0, description="Indications nearer than this count as one.")
    reference_side: float | None = Field(None, gt=0, description="Side of the square in which is counted or summed.")
    edge_of: str | None = Field(None, description="For edge_distance: 'part', or a zone.")

    @property
    def limit(self) -> float:
        """The limit, whichever side it is on."""
        limit = self.most if self.most is not None else self.least
        assert limit is not None
        return limit

    @property
    def scope(self) -> tuple[frozenset[str], frozenset[str], float | None]:
        """What the rule is about: classes, zones (none for all), and the side of the reference area."""
        return frozenset(self.classes or ()), frozenset(self.zones or ()), self.reference_side

    @model_validator(mode="after")
    def _fits_its_measure(self) -> Self:
        wanted, other = ("least", "most") if self.measure in LEAST else ("most", "least")
        if getattr(self, wanted) is None or getattr(self, other) is not None:
            raise ValueError(f"rule '{self.name}': measure {self.measure} takes '{wanted}' and not '{other}'")
        if self.measure == "number" and self.limit != int(self.limit):
            raise ValueError(f"rule '{self.name}': {self.limit:g} indications cannot be counted; give a whole number")
        for field, measures in (("merge_within", MERGING), ("reference_side", WINDOWED)):
            if getattr(self, field) is not None and self.measure not in measures:
                raise ValueError(f"rule '{self.name}': '{field}' goes with {', '.join(measures)}, not {self.measure}")
        if (self.edge_of is not None) != (self.measure == "edge_distance"):
            raise ValueError(f"rule '{self.name}': 'edge_of' (part, or a zone) goes with measure edge_distance")
        if self.measure == "distance" and self.merge_within is not None and self.merge_within >= self.limit:
            raise ValueError(
                f"rule '{self.name}': indications within {self.merge_within:g} count as one, so that none can be "
                f"nearer than {self.limit:g} to another; let merge_within be smaller than least"
            )
        return self


class Scores(StrictModel):
    """From which scores on detections count."""

    look_again: Fraction = Field(description="Detections under it count for nothing.")
    certain: Fraction = Field(description="From here on they may reject; below they can only lead to 'look again'.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.look_again > self.certain:
            raise ValueError(f"look_again {self.look_again:g} lies above certain {self.certain:g}; exchange them")
        return self


class ZoneSource(StrictModel):
    """Where zones are drawn: a COCO file with polygons on one radiograph, or a radiograph and a binary mask a zone."""

    file: str | None = Field(None, min_length=1, description="COCO file with one image; its categories are the zones.")
    reference: str | None = Field(None, min_length=1, description="Reference radiograph, where the zones are masks.")
    masks: dict[str, str] | None = Field(None, min_length=1, description="Mask file of each zone, of the same size.")
    largest_turn: float = Field(15.0, ge=0, le=180, description="Degrees by which a part may be turned.")
    largest_residual: float = Field(3.0, gt=0, description="Pixels; a worse fit is refused.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.file is None) == (self.reference is None) or (self.reference is None) != (self.masks is None):
            raise ValueError("zones: give 'file' (COCO), or 'reference' and 'masks'")
        return self


class Rules(StrictModel):
    """A file of acceptance rules."""

    name: str = Field("acceptance", min_length=1, description="What the rules are for.")
    unit: Literal["mm", "px"] = Field(description="Unit of every length; areas are in its square.")
    pixel_size_mm: float | None = Field(None, gt=0, description="Side of a pixel where radiographs do not state it.")
    measurement_error: float = Field(0.0, ge=0, description="Lengths and distances are known to +- so much.")
    detector_error: Literal["from_evaluation", "none"] = Field(
        "from_evaluation", description="Whether the errors of the detector's boxes in an evaluation are allowed for."
    )
    scores: Scores | None = Field(None, description="Scores that count; by default from the run's threshold on.")
    zones: ZoneSource | None = Field(None, description="Zones of the part; file names start from this file.")
    ignore_zones: list[str] = Field(default=[], description="Indications wholly inside are left out.")
    rules: list[Rule] = Field(description="The limits, all of which must hold.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.rules:
            raise ValueError("no rule is written yet; fill in at least one")
        names = [rule.name for rule in self.rules]
        double = next((name for name in names if names.count(name) > 1), None)
        if double is not None:
            raise ValueError(f"two rules are named '{double}'; give each its own name")
        for one, two in permutations(self.rules, 2):
            _check_pair(one, two)
        if self.unit == "px" and self.pixel_size_mm is not None:
            raise ValueError("pixel_size_mm is given, but the unit is px; leave it out, or write the limits in mm")
        return self

    @property
    def zone_names(self) -> set[str]:
        """Names of all zones that the rules speak of, without the reserved ones."""
        named = {zone for rule in self.rules for zone in rule.zones or ()} | set(self.ignore_zones)
        return (named | {rule.edge_of for rule in self.rules if rule.edge_of}) - set(RESERVED)

    @property
    def needs_zones(self) -> bool:
        """Whether any rule cannot be applied without zones."""
        return bool(self.zone_names) or any(ELSEWHERE in (rule.zones or ()) for rule in self.rules)


def _check_pair(one: Rule, two: Rule) -> None:
    """Raise ValueError where two rules about the same indications contradict each other."""
    if one.scope != two.scope or one.edge_of != two.edge_of:
        return
    if one.measure == two.measure and one.merge_within == two.merge_within:
        raise ValueError(
            f"rules '{one.name}' and '{two.name}' both limit {one.measure} of the same classes and zones, to "
            f"{one.limit:g} and {two.limit:g}; keep one"
        )
    if one.measure == "number" and one.limit == 0 and two.measure != "number":
        raise ValueError(f"rule '{one.name}' allows no indication, so that '{two.name}' is never met; keep one")
    if one.scope[2] is None and f"total_{one.measure}" == two.measure and one.limit > two.limit:
        raise ValueError(
            f"rule '{one.name}' allows one {one.measure} of {one.limit:g}, '{two.name}' only {two.limit:g} in all; "
            "let the single one be no larger"
        )


def read_rules(path: Path) -> Rules:
    """Read a file of rules. Raises InputError, in one line that names the file and the field, for whatever is wrong."""
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise InputError(f"{path}: rules are a mapping with name, unit and rules; radiograph accept --template OUT")
    return validated(Rules, values, str(path))


def check_names(rules: Rules, path: Path, classes: Sequence[str], zones: Sequence[str] | None) -> None:
    """Raise InputError for a class that the detector does not have, and for a zone that is not drawn."""
    for rule in rules.rules:
        for name in rule.classes or ():
            if name not in classes:
                raise InputError(
                    f"{path}: rule '{rule.name}': there is no class '{name}'; the detections have {', '.join(classes)}"
                )
    if rules.needs_zones and zones is None:
        named = ", ".join(sorted(rules.zone_names)) or ELSEWHERE
        raise InputError(
            f"{path}: rules speak of zones ({named}), but no zones are given; write 'zones: {{file: FILE}}'"
        )
    for name in sorted(rules.zone_names.difference(zones or ())):
        raise InputError(f"{path}: there is no zone '{name}'; drawn are {', '.join(zones or ()) or 'none'}")


def template() -> str:
    """Return the empty, commented file of rules that comes with the toolkit."""
    return files("detectors.decisions").joinpath("rules_template.yaml").read_text(encoding="utf-8")
