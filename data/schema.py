"""The base of every configuration class: unknown fields are errors, values do not change after reading."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_validator


class StrictModel(BaseModel):
    """A configuration section that refuses unknown fields.

    `former_names` maps names that a field once had to the present one, so that old files and runs stay readable.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())
    former_names: ClassVar[Mapping[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _take_former_names(cls, values: Any) -> Any:
        return _with_present_names(cls, values)


def _with_present_names(section: type[BaseModel], values: Any) -> Any:
    """Return the values of a section with the present name in the place of a former one.

    Anything but a mapping is returned as it is. Raises ValueError where both names of one field are given.
    """
    former: Mapping[str, str] = getattr(section, "former_names", {})
    if not isinstance(values, Mapping) or not any(name in former for name in values if isinstance(name, str)):
        return values
    renamed: dict[Any, Any] = {}
    for name, value in values.items():
        present = former.get(name, name) if isinstance(name, str) else name
        if present in renamed:
            old = next(name for name, new in former.items() if new == present and name in values)
            raise ValueError(f"'{present}' is given twice, once by its former name '{old}'; keep '{present}'")
        renamed[present] = value
    return renamed
