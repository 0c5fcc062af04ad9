"""Sections of a configuration: fields that were renamed are still read."""

from typing import ClassVar

import pytest
from pydantic import ValidationError

from data.crops import CropConfig
from data.patches import PatchConfig
from data.schema import StrictModel


class Section(StrictModel):
    former_names: ClassVar = {"ema": "ema_decay"}

    ema_decay: float | None = None
    lr: float = 0.1


def test_a_former_name_is_read_and_the_present_one_written() -> None:
    assert Section.model_validate({"ema": 0.9, "lr": 1}).model_dump() == {"ema_decay": 0.9, "lr": 1}
    assert Section.model_validate({"ema_decay": 0.9}).ema_decay == 0.9


def test_both_names_of_a_field_are_an_error() -> None:
    with pytest.raises(ValidationError, match="'ema_decay' is given twice, once by its former name 'ema'"):
        Section.model_validate({"ema": 0.9, "ema_decay": 0.8})


def test_names_that_never_were_stay_errors() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        Section.model_validate({"emma": 0.9})
    with pytest.raises(ValidationError):
        Section.model_validate({1: 2})


class Inner(StrictModel):
    former_names: ClassVar = {"cell": "downsample"}

    downsample: int = 4


class Base(StrictModel):
    former_names: ClassVar = {"nms": "nms_iou"}

    nms_iou: float = 0.5


class Outer(Base):
    former_names: ClassVar = {"look": "input"}
    former_values: ClassVar = {"input": {"grey": "gray"}}

    input: str = "gray"
    inner: Inner = Inner()
    several: list[Inner] = []
    maybe: Inner | None = None


def test_old_names_and_words_are_read() -> None:
    old = {"look": "grey", "nms": 0.3, "inner": {"cell": 2}, "several": [{"cell": 1}, {}], "maybe": {"cell": 8}}
    new = Outer(
        input="gray", nms_iou=0.3, inner=Inner(downsample=2), several=[Inner(downsample=1), Inner()],
        maybe=Inner(downsample=8),
    )  # fmt: skip
    assert Outer.model_validate(old) == new
    assert Outer.model_validate(Outer.with_present_names(old)) == new
    assert Outer.with_present_names({"several": {"1": {"cell": 3}}}) == {"several": {"1": {"downsample": 3}}}


@pytest.mark.parametrize("values", [{"nms_iou": float("inf")}, {"nms_iou": float("nan")}, {"nsm_iou": 0.3}])
def test_unknown_fields_and_numbers_without_end_are_refused(values: dict) -> None:
    with pytest.raises(ValidationError):
        Base(**values)


def test_values_do_not_change_after_reading() -> None:
    with pytest.raises(ValidationError):
        Base().nms_iou = 0.1


def test_former_names_of_crops_and_patches_are_read() -> None:
    former = {"size": 8, "around_defect": 0.5, "keep_empty": False, "min_visible": 0.2}
    present = {"size": 8, "defect_crop_fraction": 0.5, "allow_empty": False, "min_visibility": 0.2}
    assert CropConfig(**former).model_dump() == CropConfig(**present).model_dump() == present
    patches = PatchConfig(**{"share": 0.5, "views_together": False})
    assert (patches.min_defect_fraction, patches.group_views) == (0.5, False)
