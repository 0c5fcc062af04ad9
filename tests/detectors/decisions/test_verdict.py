"""Rules on radiographs worked out by hand, and what must hold whatever the rules are."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.decisions.indications import Indications, components
from detectors.decisions.readings import heaviest_square
from detectors.decisions.rules import Rules
from detectors.decisions.size_error import NO_ERROR, SizeError
from detectors.decisions.verdict import Decision, Detected, Zones, decide


def rules_of(*rules: dict[str, Any], **settings: Any) -> Rules:
    named = [{"name": f"rule {k}", **rule} for k, rule in enumerate(rules)]
    return Rules.model_validate({"unit": "px", **settings, "rules": named})


def detected(*boxes: tuple[float, ...], score: float | list[float] = 0.9, name: str = "defect") -> Detected:
    """Return detections at x, y, width, height."""
    box = np.array(boxes, dtype=float).reshape(-1, 4)
    box[:, 2:] += box[:, :2]
    scores = np.broadcast_to(np.asarray(score, dtype=float), len(box)).copy()
    return Detected(np.arange(len(box)), box, scores, np.array([name] * len(box), dtype=object))


def verdict(rule: dict[str, Any], *boxes: tuple[float, ...], **settings: Any) -> str:
    return decide(rules_of(rule, **settings), detected(*boxes), (0.5, 0.5)).verdict


LENGTH = {"measure": "length", "most": 10}


def test_the_longer_side_decides_and_the_limit_is_accepted() -> None:
    assert verdict(LENGTH, (0, 0, 10, 4)) == "accept"
    assert verdict(LENGTH, (0, 0, 4, 10.5)) == "reject"
    assert verdict(LENGTH) == "accept"


def test_measurement_error_leaves_close_cases_open() -> None:
    for side, expected in ((8.9, "accept"), (9.1, "look again"), (10.9, "look again"), (11.1, "reject")):
        assert verdict(LENGTH, (0, 0, side, 4), measurement_error=1) == expected


def test_the_detectors_error_shifts_and_widens() -> None:
    """Boxes drawn too large: true lengths are 0.6 to 0.8 of the drawn ones."""
    error = SizeError((0.6, 0.8), (-0.2, -0.1), 50)
    rules = rules_of(LENGTH)
    for side, expected in {12.4: "accept", 13.0: "look again", 16.5: "look again", 17.0: "reject"}.items():
        found = decide(rules, detected((0, 0, side, 4)), (0.5, 0.5), size_error=error)
        assert found.verdict == expected
        assert (found.findings[0].low, found.findings[0].high) == pytest.approx((0.6 * side, 0.8 * side))


def test_the_detectors_error_of_distances() -> None:
    """Boxes of 10 px, 5 px apart; each side lies 1 to 2 px farther in: 7 to 9 px apart in truth."""
    error = SizeError((0.6, 0.8), (-0.2, -0.1), 50)
    for least, expected in {7: "accept", 8: "look again", 9: "look again", 9.1: "reject"}.items():
        rules = rules_of({"measure": "distance", "least": least})
        found = decide(rules, detected((0, 0, 10, 10), (15, 0, 10, 10)), (0.5, 0.5), size_error=error)
        assert (found.verdict, found.findings[0].low, found.findings[0].high) == (expected, 7, 9)


def test_millimeters() -> None:
    rules = rules_of({"measure": "length", "most": 2.0}, {"measure": "area", "most": 3.99}, unit="mm")
    made = decide(rules, detected((0, 0, 20, 20)), (0.5, 0.5), pixel=0.1)
    (deciding,) = made.deciding
    assert made.verdict == "reject"
    assert deciding.rule.measure == "area"
    assert deciding.value == pytest.approx(4.0)
    assert deciding.sentence == "area 4 mm²; wanted at most 3.99 mm²"


def test_clusters_count_as_one_as_long_as_their_common_box() -> None:
    """Two pores of 5 px, 3 px apart: 13 px together."""
    pair = ((0, 0, 5, 5), (8, 0, 5, 5))
    assert verdict(LENGTH, *pair) == "accept"
    assert verdict({**LENGTH, "merge_within": 3}, *pair) == "reject"
    assert verdict({**LENGTH, "merge_within": 2.9}, *pair) == "accept"
    # The gap is 3 +- 0.5: whether they are one is open, and so is whether 12.5 to 13.5 px reject.
    assert verdict({**LENGTH, "merge_within": 3}, *pair, measurement_error=0.5) == "look again"


def test_merging_alone_never_accepts() -> None:
    number = {"measure": "number", "most": 1}
    pair = ((0, 0, 5, 5), (8, 0, 5, 5))
    assert verdict(number, *pair) == "reject"
    assert verdict({**number, "merge_within": 3}, *pair) == "look again"
    assert verdict({**number, "merge_within": 3}, *pair, (50, 0, 5, 5)) == "reject"


def test_number_and_sum_in_the_worst_square() -> None:
    """Centers at x = 2, 12, 22 and 92: three lie within 20 px, borders included, two within 19."""
    row = ((0, 0, 4, 4), (10, 0, 4, 4), (20, 0, 4, 4), (90, 0, 4, 4))
    for side, count in ((20, 3), (19, 2), (9, 1)):
        made = decide(rules_of({"measure": "number", "most": 0, "reference_side": side}), detected(*row), (0.5, 0.5))
        assert made.findings[0].value == count
    made = decide(rules_of({"measure": "total_length", "most": 11, "reference_side": 20}), detected(*row), (0.5, 0.5))
    assert made.verdict == "reject"
    assert made.findings[0].value == 12
    assert made.findings[0].rows == (0, 1, 2)
    assert verdict({"measure": "total_area", "most": 64}, *row) == "accept"


def test_distances() -> None:
    """A gap of 3 px to the right and 4 down is 5."""
    pair = ((0, 0, 10, 10), (13, 14, 5, 5))
    assert verdict({"measure": "distance", "least": 5}, *pair) == "accept"
    assert verdict({"measure": "distance", "least": 5.1}, *pair) == "reject"
    assert verdict({"measure": "distance", "least": 5.1}, *pair, measurement_error=0.2) == "look again"
    assert verdict({"measure": "distance", "least": 8, "merge_within": 5}, *pair) == "accept"


def test_distance_to_the_edge_of_the_part() -> None:
    part = np.zeros((60, 80), bool)
    part[10:50, 10:70] = True
    for x, expected in ((13, "reject"), (14, "accept"), (5, "reject")):
        rules = rules_of({"measure": "edge_distance", "least": 4, "edge_of": "part"})
        assert decide(rules, detected((x, 30, 5, 5)), (0.5, 0.5), part=part).verdict == expected
    unseen = decide(rules, detected((30, 30, 5, 5)), (0.5, 0.5), part=np.ones((60, 80), bool))
    assert unseen.verdict == "look again"
    assert "edge is not seen" in unseen.deciding[0].sentence


def test_zones_and_what_they_do_not_cover() -> None:
    bore = np.zeros((60, 80), bool)
    bore[:, :40] = True
    zones = Zones({"bore": bore})
    both = rules_of({"measure": "length", "most": 4, "zones": ["bore"]},
                    {"measure": "length", "most": 8, "zones": ["elsewhere"]})  # fmt: skip
    for x, side, expected in (
        (10, 6, "reject"), (60, 6, "accept"), (60, 9, "reject"), (10, 4, "accept"), (37, 6, "reject")
    ):  # fmt: skip
        assert decide(both, detected((x, 10, side, side)), (0.5, 0.5), zones=zones).verdict == expected
    ignoring = rules_of({"measure": "number", "most": 0}, ignore_zones=["bore"])
    assert decide(ignoring, detected((10, 10, 5, 5)), (0.5, 0.5), zones=zones).verdict == "accept"
    assert decide(ignoring, detected((38, 10, 5, 5)), (0.5, 0.5), zones=zones).verdict == "reject"


def test_zones_that_were_not_found_leave_their_rules_open() -> None:
    refused = Zones({}, "zones not found: residual 9 px")
    rules = rules_of({"measure": "length", "most": 4, "zones": ["bore"]}, {"measure": "number", "most": 1})
    empty = decide(rules, detected(), (0.5, 0.5), zones=refused)
    assert empty.verdict == "look again"
    assert "residual 9 px" in empty.deciding[0].sentence
    assert decide(rules, detected((0, 0, 2, 2), (9, 9, 2, 2)), (0.5, 0.5), zones=refused).verdict == "reject"


def test_weak_indications_only_leave_a_rule_open() -> None:
    rules = rules_of(LENGTH)
    for score, expected in ((0.2, "accept"), (0.3, "look again"), (0.59, "look again"), (0.6, "reject")):
        assert decide(rules, detected((0, 0, 20, 4), score=score), (0.3, 0.6)).verdict == expected


def test_classes() -> None:
    rules = rules_of({"measure": "number", "most": 0, "classes": ["crack"]})
    assert decide(rules, detected((0, 0, 3, 3), name="pore"), (0.5, 0.5)).verdict == "accept"
    assert decide(rules, detected((0, 0, 3, 3), name="crack"), (0.5, 0.5)).verdict == "reject"


BOX = st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(1, 30), st.integers(1, 30))
FOUND = st.lists(st.tuples(BOX, st.sampled_from([0.2, 0.4, 0.9])), max_size=6)
MERGE = st.one_of(st.none(), st.integers(0, 12))
SIDE = st.one_of(st.none(), st.integers(5, 40))


@st.composite
def any_rule(draw: st.DrawFn) -> dict[str, Any]:
    measure = draw(st.sampled_from(
        ["length", "area", "number", "total_length", "total_area", "distance", "edge_distance"]
    ))  # fmt: skip
    rule: dict[str, Any] = {"measure": measure}
    if measure in ("distance", "edge_distance"):
        rule["least"] = draw(st.integers(13, 30))
    else:
        rule["most"] = draw(st.integers(0, 4 if measure == "number" else 400 if "area" in measure else 60))
    if measure in ("length", "area", "number", "distance"):
        rule["merge_within"] = draw(MERGE)
    if measure in ("number", "total_length", "total_area"):
        rule["reference_side"] = draw(SIDE)
    if measure == "edge_distance":
        rule["edge_of"] = draw(st.sampled_from(["part", "bore"]))
    if draw(st.booleans()):
        rule["zones"] = draw(st.sampled_from([["bore"], ["elsewhere"]]))
    return rule


ERROR = st.sampled_from([NO_ERROR, SizeError((0.7, 1.3), (-0.2, 0.1), 40), SizeError((0.6, 0.8), (-0.2, -0.1), 40)])


@settings(max_examples=300, deadline=None)
@given(any_rule(), FOUND, st.tuples(BOX, st.sampled_from([0.2, 0.4, 0.9])), st.integers(0, 3), ERROR)
def test_one_more_indication_never_leads_to_acceptance(
    rule: dict[str, Any], found: list[Any], more: Any, error: int, size_error: SizeError
) -> None:
    bore = np.zeros((100, 100), bool)
    bore[:, :45] = True
    part = np.zeros((100, 100), bool)
    part[5:95, 5:95] = True
    rules = rules_of(rule, measurement_error=error)

    def decided(pairs: list[Any]) -> Decision:
        boxes = detected(*(box for box, _ in pairs), score=[score for _, score in pairs])
        return decide(rules, boxes, (0.3, 0.6), size_error=size_error, zones=Zones({"bore": bore}), part=part)

    before, after = decided(found), decided([*found, more])
    if before.verdict != "accept":
        assert after.verdict != "accept"
    if rule["measure"] != "number" or rule["merge_within"] is None:  # whose clusters may grow together
        order = ["accept", "look again", "reject"]
        assert order.index(after.verdict) >= order.index(before.verdict)
    for finding in after.findings:
        assert finding.low <= finding.high


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(0, 5)), max_size=7), st.integers(1, 12))
def test_the_heaviest_square_is_that_of_trying_all(points: list[tuple[int, int, int]], side: int) -> None:
    center = np.array([p[:2] for p in points], dtype=float).reshape(-1, 2)
    weight = np.array([p[2] for p in points], dtype=float)
    best, members = heaviest_square(center, weight, side)
    tried = [
        weight[((center >= (x, y)) & (center <= (x + side, y + side))).all(axis=1)].sum()
        for x in range(0, 21)
        for y in range(0, 21)
    ]
    assert best == max(tried)
    assert weight[members].sum() == best
    assert np.ptp(center[members], axis=0).max(initial=0) <= side if len(members) else best == 0


def test_what_hangs_together_is_one() -> None:
    linked = np.eye(5, dtype=bool)
    for one, two in ((0, 3), (3, 4)):
        linked[one, two] = linked[two, one] = True
    assert components(linked).tolist() == [0, 1, 2, 0, 0]
    found = Indications(np.arange(2), np.array([[0, 0, 4, 4], [4, 4, 9, 9.0]]), np.ones(2, bool))
    assert found.gaps.tolist() == [[0, 0], [0, 0]]
