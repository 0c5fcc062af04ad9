"""Hostile YAML ends in one line that names the file, quickly and in little memory."""

import tracemalloc
from pathlib import Path

import pytest

from data.errors import InputError
from detectors.config.files import check_config, describes, read_config, write_config
from detectors.config.yaml_reader import parse_yaml

BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(f"a{k}: &a{k} [{','.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 9))


@pytest.mark.parametrize(
    "text",
    [
        "seed: 2020-13-45", "seed: 0x_", "seed: 0b_", "seed: " + "[" * 3000, "seed: " + "{" * 3000, "seed: !!int x",
        "seed: !!float x", "seed: !!timestamp x", "seed: !!bool x", "seed: " + "1" * 5000, "seed: &a [*a]", "seed: *no",
        "seed: \x07", "? [a]\n: 3", "<<: 3", "seed: !!python/object/apply:os.system [id]", "seed: !!binary é",
        BOMB + "seed: *a8", BOMB + "seed: {<<: [*a8]}", "seed: inf", "name: ../x", "name: /tmp/x",
        f"name: {'x' * 5000}/..", "extends: [a]", "1: 2", "? {a: 1}\n: 2", "data: 3", "data: {train: []}",
        "seed: 4294967296", "data: {workers: 5000}",
    ],
)  # fmt: skip
def test_hostile_text_is_refused_in_one_short_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "odd.yaml"
    extends = "" if text.startswith("extends") else "extends: quickstart.yaml\n"
    path.write_text(extends + text + "\n")
    tracemalloc.start()
    with pytest.raises(InputError, match=r"odd\.yaml") as caught:
        read_config(path)
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()
    assert len(str(caught.value)) < 2000
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["extends: 3", "extends: " + "x" * 3000, "model: {name: [a]}", "model: {name: {a: 1}}", "model: [1]"]
)
def test_what_names_no_file_and_no_model_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_config(path)
    assert "\n" not in str(caught.value)


def test_anchors_may_be_used(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        "extends: quickstart.yaml\ndata:\n  train: &s {json: a.json, weight: 2}\n"
        "  val: {<<: *s, json: b.json}\n  test: *s\n"
    )
    data = read_config(path).data
    assert (data.val.json_file, data.val.weight, data.test.json_file) == ("b.json", 2, "a.json")


def test_many_files_that_extend_one_another_end(tmp_path: Path) -> None:
    for k in range(30):
        (tmp_path / f"{k}.yaml").write_text(f"extends: {k + 1}.yaml\n")
    (tmp_path / "30.yaml").write_text("model: {name: faster_rcnn}\n")
    with pytest.raises(InputError, match="20th file"):
        read_config(tmp_path / "0.yaml")
    assert read_config(tmp_path / "15.yaml").model.name == "faster_rcnn"


def test_large_files_are_no_configurations(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_text("# " + "x" * 1_100_000)
    with pytest.raises(InputError, match="has 1100002 bytes"):
        read_config(path)


@pytest.mark.parametrize(
    ("text", "value"),
    [('"5"', "5"), ("'1e-3'", "1e-3"), ("5x", "5x"), ("nan", "nan"), ("inf", "inf"), ("1_000.5x", "1_000.5x")],
)
def test_words_of_an_override_stay_words(text: str, value: str) -> None:
    assert read_config("quickstart", [f"name={text}"]).name == value


@pytest.mark.parametrize(
    "text",
    ["train.lr=inf", "train.lr=.inf", "train.lr=nan", "train.weight_decay=1e999", "seed=1e20", "data.window=!!x"],
)
def test_numbers_without_end_are_refused(text: str) -> None:
    with pytest.raises(InputError) as caught:
        read_config("quickstart", [text])
    assert text.split("=")[0] in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "model.rpn.anchor_sizes=[[0], [16], [32]]", "model.rpn.anchor_sizes=[[-8], [16], [32]]",
        "model.rpn.anchor_sizes=[[], [], []]", "model.rpn.aspect_ratios=[]", "model.rpn.aspect_ratios=[0]",
        "seed=4294967296", "seed=-1", "model.fpn_channels=1000000000",
    ],
)  # fmt: skip
def test_values_that_no_model_can_have_are_refused(text: str) -> None:
    with pytest.raises(InputError) as caught:
        read_config("quickstart", [text])
    assert text.split("=")[0].rpartition(".")[2] in str(caught.value)


def test_text_without_a_value_is_nothing() -> None:
    assert parse_yaml("", "here") is None


def test_former_names_and_present_ones_meet(tmp_path: Path) -> None:
    path = tmp_path / "old.yaml"
    path.write_text(
        "extends: quickstart.yaml\ntrain: {ema: 0.5, schedule: {final: 0.2}}\n"
        "data: {val: {json: a.json, box_margin: 3}}\n"
    )
    config = read_config(path, ["train.ema_decay=0.6"])
    assert (config.train.ema_decay, config.train.schedule.min_lr_factor, config.data.val.box_padding) == (0.6, 0.2, 3)
    write_config(tmp_path / "new.yaml", config)
    assert "ema: " not in (tmp_path / "new.yaml").read_text()
    assert read_config(tmp_path / "new.yaml") == config


def test_faults_are_listed_up_to_a_limit() -> None:
    fields = {f"field{k}": k for k in range(50)}
    with pytest.raises(InputError, match="and 30 more") as caught:
        check_config({"model": {"name": "faster_rcnn"}} | fields)
    assert len(str(caught.value)) < 3000


def test_a_configuration_is_known_again_by_its_former_names() -> None:
    config = read_config("quickstart")
    values = config.as_dict()
    assert describes(values, config)
    values["train"]["ema"] = values["train"].pop("ema_decay")
    values["data"]["test"]["box_margin"] = values["data"]["test"].pop("box_padding")
    assert describes(values, config)
    values["train"]["ema"] = 0.5
    assert not describes(values, config)
    assert not describes({"model": 3}, config)
    assert not describes(None, config)


def test_the_bare_word_no_is_a_precision() -> None:
    assert read_config("quickstart", ["train.precision=no"]).train.precision == "no"
    assert read_config("quickstart", ["train.precision=auto"]).train.precision == "auto"
    with pytest.raises(InputError, match="precision"):
        read_config("quickstart", ["train.precision=yes"])
