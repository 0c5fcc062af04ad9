"""Sections of a configuration: fields that were renamed are still read."""

from typing import ClassVar

import pytest
from pydantic import ValidationError

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
