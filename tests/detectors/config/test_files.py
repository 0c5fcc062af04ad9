"""Configuration files: inheritance, overrides, and every error at once in the user's words."""

from pathlib import Path

import pytest

from data.errors import InputError
from detectors.config.files import CONFIGS, check_config, read_config, write_config


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_configuration_is_valid_and_survives_a_round_trip(path: Path, tmp_path: Path) -> None:
    config = read_config(path.name)
    assert config.name == path.stem
    evaluated = [source for source in (*config.data.train, config.data.val, config.data.test) if source]
    assert len({source.box_padding for source in evaluated}) == 1, "trained on other boxes than it is evaluated with"
    write_config(tmp_path / "config.yaml", config)
    assert read_config(tmp_path / "config.yaml") == config


def test_extends_lays_one_file_on_another(tmp_path: Path) -> None:
    write(tmp_path, "base.yaml", "model: {name: faster_rcnn}\ntrain: {lr: 0.5, epochs: 3}\n")
    child = write(tmp_path, "child.yaml", "extends: base.yaml\ntrain: {lr: 0.25}\n")
    config = read_config(child)
    assert (config.train.lr, config.train.epochs, config.name) == (0.25, 3, "child")


def test_extends_in_a_circle_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "extends: b.yaml\n")
    write(tmp_path, "b.yaml", "extends: a.yaml\n")
    with pytest.raises(InputError, match="leads back to itself"):
        read_config(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("train.lr=1e-3", 0.001),
        ("train.lr=0.5", 0.5),
        ("train.optimizer=adamw", "adamw"),
        ("train.clip_norm=null", None),
    ],
)
def test_overrides_are_typed(text: str, value: object) -> None:
    config = read_config("quickstart", [text])
    assert getattr(config.train, text.split("=")[0].split(".")[1]) == value


def test_an_override_beats_the_file_and_the_last_one_wins() -> None:
    assert read_config("quickstart", ["train.epochs=2", "train.epochs=9"]).train.epochs == 9


def test_all_errors_come_at_once_with_field_origin_and_nearest_name(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "wrong.yaml",
        "model: {name: faster_rcnn, backbone: resnet19}\ntrian: {epochs: 3}\ntrain: {lr: fast, epoch: 4}\n",
    )
    with pytest.raises(InputError) as caught:
        read_config(path, ["data.augmentation.crop.sze=64"])
    message = str(caught.value)
    assert "'trian', did you mean 'train'?" in message
    assert "'train.epoch', did you mean 'train.epochs'?" in message
    assert "'model.backbone'" in message
    assert "'resnet19'" in message
    assert "field 'train.lr'" in message
    assert "--set data.augmentation.crop.sze=64: unknown field 'data.augmentation.crop.sze'" in message
    assert "did you mean 'data.augmentation.crop.size'?" in message
    assert message.count(str(path)) == 4
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "nearest"), [("quikstart", "quickstart.yaml"), ("faster_rcnn_r110.yaml", "faster_rcnn_r101.yaml")]
)
def test_an_unknown_configuration_names_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(InputError, match=f"did you mean '{nearest}'"):
        read_config(name)


def test_an_unknown_model_lists_the_valid_ones() -> None:
    with pytest.raises(InputError, match=r"did you mean 'faster_rcnn'\?; valid names: .*faster_rcnn"):
        read_config("quickstart", ["model.name=faster_rcn"])


@pytest.mark.parametrize("text", ["train.epochs", "=3", "train..lr=1", "train.lr=[1"])
def test_a_malformed_override_is_an_error(text: str) -> None:
    with pytest.raises(InputError, match="--set"):
        read_config("quickstart", [text])


@pytest.mark.parametrize("text", ["- a\n- b\n", "model: [unclosed\n", ""])
def test_a_file_that_is_no_mapping_is_an_error(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, "odd.yaml", text)
    with pytest.raises(InputError, match=r"odd\.yaml"):
        read_config(path)


def test_another_origin_of_data_replaces_the_old_one_and_its_margin() -> None:
    config = read_config("faster_rcnn_r18_fpn", ["data.train.json=mine.json", "data.train.images=folder"])
    (source,) = config.data.train
    assert (source.json_file, source.images, source.phantoms, source.box_padding) == ("mine.json", "folder", None, 0.0)


@pytest.mark.parametrize("order", [1, -1])
def test_the_order_of_overrides_of_different_fields_does_not_matter(order: int) -> None:
    overrides = ["data.val.json=mine.json", "data.val.images=folder"][::order]
    source = read_config("quickstart", overrides).data.val
    assert (source.json_file, source.images) == ("mine.json", "folder")


def test_an_override_reaches_into_a_list_by_position(tmp_path: Path) -> None:
    sources = "[{images: a, simulate: {share: 0.5}}, {phantoms: {n: 3}, weight: 2}]"
    path = write(tmp_path, "two.yaml", f"extends: quickstart.yaml\ndata: {{train: {sources}}}\n")
    first, second = read_config(path, ["data.train.0.images=b", "data.train.1.weight=3"]).data.train
    assert (first.images, first.simulate.image_fraction, second.weight, second.phantoms.n) == ("b", 0.5, 3, 3)
    with pytest.raises(InputError, match=r"--set data\.train\.1\.wait=3: unknown field 'data\.train\.1\.wait'.*weight"):
        read_config(path, ["data.train.1.wait=3"])
    third = read_config(path, ["data.train.2.json=c.json", "data.train={0: {weight: 5}}"]).data.train
    assert [source.weight for source in third] == [5, 2, 1]
    with pytest.raises(InputError, match=r"train\.7: there are 2 before it"):
        read_config(path, ["data.train.7.weight=3"])


def test_one_section_is_a_list_of_one() -> None:
    first, second = read_config("quickstart", ["data.train.0.weight=3", "data.train.1.json=a.json"]).data.train
    assert (first.weight, first.phantoms.n, second.json_file) == (3, 400, "a.json")


def test_a_folder_of_radiographs_takes_the_place_of_phantoms() -> None:
    (source,) = read_config("quickstart", ["data.train.images=folder", "data.train.box_padding=2"]).data.train
    assert (source.images, source.phantoms, source.box_padding) == ("folder", None, 2)
    with pytest.raises(InputError, match="'images' goes with 'json' or 'masks', or alone"):
        check_config({"model": {"name": "faster_rcnn"}, "data": {"train": [{"phantoms": {}, "images": "folder"}]}})


def test_a_source_needs_one_origin() -> None:
    with pytest.raises(InputError, match="give one of 'json'"):
        check_config({"model": {"name": "faster_rcnn"}, "data": {"train": [{"weight": 2}]}})


def test_the_anchors_must_fit_the_maps() -> None:
    with pytest.raises(InputError, match="anchor_sizes needs 3 lists"):
        read_config("quickstart", ["model.rpn.anchor_sizes=[[8]]"])


def test_a_base_file_is_extended_but_is_no_configuration() -> None:
    assert read_config("rfcn_r18").data == read_config("faster_rcnn_r18_fpn").data
    with pytest.raises(InputError, match=r"model\.name is None"):
        read_config("base/castings_crops.yaml")
