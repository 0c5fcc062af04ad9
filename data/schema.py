"""The base of every configuration class: unknown fields are errors, former names are read, values do not change."""

import typing
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_validator


class StrictModel(BaseModel):
    """A configuration section that refuses unknown fields and numbers that are not finite.

    `former_names` maps names that a field once had to the present one, and `former_values` the present name of a field
    to words that it once took and what they are now; both add to those of the classes above. So old files and runs
    stay readable.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)

    former_names: ClassVar[Mapping[str, str]] = {}
    former_values: ClassVar[Mapping[str, Mapping[Any, str]]] = {}

    @model_validator(mode="before")
    @classmethod
    def _take_former_names(cls, values: Any) -> Any:
        return cls.with_present_names(values, nested=False)

    @classmethod
    def with_present_names(cls, values: Any, nested: bool = True) -> Any:
        """Return the plain values of this section under the present names of fields and words.

        Args:
            values: a mapping of fields; anything else is returned as it is.
            nested: whether to go into the sections inside this one, too.

        Raises ValueError where a field is given under both of its names.

        """
        if not isinstance(values, Mapping):
            return values
        fields, words = cls._inherited("former_names"), cls._inherited("former_values")
        present: dict[Any, Any] = {}
        for key, value in values.items():
            name: Any = fields.get(key, key)
            if name != key and name in values:
                raise ValueError(f"'{name}' is given twice, once by its former name '{key}'; keep '{name}'")
            section = _section_of(cls, name) if nested else None
            value = section._present_section(value) if section else value
            present[name] = words.get(name, {}).get(value, value) if isinstance(value, str | bool) else value
        return present

    @classmethod
    def _present_section(cls, value: Any) -> Any:
        """Return one section of this class, or several in a list or keyed by position, under the present names."""
        if isinstance(value, list):
            return [cls.with_present_names(entry) for entry in value]
        if isinstance(value, Mapping) and value and all(str(key).isdecimal() for key in value):
            return {key: cls.with_present_names(entry) for key, entry in value.items()}
        return cls.with_present_names(value)

    @classmethod
    def former_names_of_all(cls) -> dict[str, str]:
        """Return the former names of fields, those of the classes above with them, each with the present name."""
        return cls._inherited("former_names")

    @classmethod
    def _inherited(cls, table: str) -> dict[str, Any]:
        """Return a table of this class laid over those of the classes that it derives from."""
        merged: dict[str, Any] = {}
        for parent in reversed(cls.__mro__):
            merged |= vars(parent).get(table, {})
        return merged


def _section_of(schema: type[BaseModel], name: str) -> type[StrictModel] | None:
    """Return the class of the section that a field holds, alone, in a list or optionally; None for other fields."""
    field = next((f for n, f in schema.model_fields.items() if name in (n, f.alias)), None)
    return _section_in(field.annotation) if field else None


def _section_in(annotation: Any) -> type[StrictModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, StrictModel):
        return annotation
    return next((found for part in typing.get_args(annotation) if (found := _section_in(part))), None)
