"""The schema of acceptance rules: what is refused, in one line that names the file and the field."""

from pathlib import Path

import pytest

from data.errors import InputError
from detectors.decisions.rules import Rules, check_names, read_rules, template


def written(folder: Path, rules: str, head: str = "unit: px\n") -> Path:
    path = folder / "rules.yaml"
    path.write_text(f"{head}rules:\n{rules}" if rules else head)
    return path


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ("- {name: a, measure: length, mots: 3}", "unknown field 'rules.0.mots', did you mean 'rules.0.most'"),
        ("- {name: a, measure: length}", "takes 'most'"),
        ("- {name: a, measure: distance, most: 3}", "takes 'least'"),
        ("- {name: a, measure: number, most: 2.5}", "whole number"),
        ("- {name: a, measure: length, most: 3, reference_side: 9}", "'reference_side' goes with"),
        ("- {name: a, measure: total_length, most: 3, merge_within: 1}", "'merge_within' goes with"),
        ("- {name: a, measure: edge_distance, least: 3}", "'edge_of'"),
        ("- {name: a, measure: distance, least: 3, merge_within: 3}", "let merge_within be smaller"),
        ("- {name: a, measure: length, most: -1}", "greater than or equal to 0"),
        ("- {name: a, measure: length, most: .nan}", "finite"),
        ("- {name: a, measure: length, most: 3}\n- {name: a, measure: area, most: 3}", "two rules are named 'a'"),
        ("- {name: a, measure: length, most: 3}\n- {name: b, measure: length, most: 4}", "both limit length"),
        ("- {name: a, measure: length, most: 3}\n- {name: b, measure: number, most: 0}", "allows no indication"),
        ("- {name: a, measure: length, most: 5}\n- {name: b, measure: total_length, most: 3}", "only 3 in all"),
        ("- {name: a, measure: length, most: 3, classes: pore}", "valid list"),
        ("", "rules"),
    ],
)
def test_faults_are_named_in_one_line(tmp_path: Path, rules: str, words: str) -> None:
    path = written(tmp_path, rules)
    with pytest.raises(InputError) as caught:
        read_rules(path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ("unit: inch\n", "'mm' or 'px'"),
        ("unit: px\npixel_size_mm: 0.1\n", "the unit is px"),
        ("unit: px\nscores: {look_again: 0.5, certain: 0.4}\n", "exchange them"),
        ("unit: px\nscores: {look_again: 0.5, certain: 1.4}\n", "less than or equal to 1"),
        ("unit: px\nlimit: 3\n", "unknown field 'limit'"),
    ],
)
def test_faulty_heads(tmp_path: Path, head: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_rules(written(tmp_path, "- {name: a, measure: length, most: 3}", head))


def test_limits_of_other_scopes_are_no_contradiction(tmp_path: Path) -> None:
    rules = read_rules(
        written(
            tmp_path,
            "- {name: a, measure: length, most: 3}\n- {name: b, measure: length, most: 1, zones: [bore]}\n"
            "- {name: c, measure: length, most: 2, classes: [crack]}\n"
            "- {name: d, measure: number, most: 0, zones: [x]}\n",
        )
    )
    assert rules.zone_names == {"bore", "x"}


def test_the_template_is_valid_but_empty_and_its_examples_are_valid(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(template())
    with pytest.raises(InputError, match="no rule is written yet"):
        read_rules(path)
    lines = [line for line in template().splitlines() if line != "rules: []"]
    start = next(k for k, line in enumerate(lines) if line.startswith("# rules:"))
    settings = [line.removeprefix("# ") for line in lines if line.startswith(("# pixel", "# meas", "# det", "# sco"))]
    path.write_text("\n".join([*lines[:start], *settings, *(line.removeprefix("# ") for line in lines[start:])]))
    rules = read_rules(path)
    assert {rule.measure for rule in rules.rules} >= {"length", "number", "distance", "edge_distance", "area"}
    assert rules.scores is not None


def test_unknown_names() -> None:
    rules = Rules.model_validate({"unit": "px", "rules": [{"name": "a", "measure": "length", "most": 3,
                                                           "classes": ["pore"], "zones": ["bore"]}]})  # fmt: skip
    path = Path("rules.yaml")
    with pytest.raises(InputError, match="no class 'pore'; the detections have crack"):
        check_names(rules, path, ["crack"], ["bore"])
    with pytest.raises(InputError, match="no zones are given"):
        check_names(rules, path, ["pore"], None)
    with pytest.raises(InputError, match="no zone 'bore'; drawn are rim"):
        check_names(rules, path, ["pore"], ["rim"])
    check_names(rules, path, ["pore"], ["rim", "bore"])
