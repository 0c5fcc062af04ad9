"""What is wrong with the values of a file, in one line that names the file, the field and the nearest valid name."""

import difflib
import reprlib
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from data.errors import InputError

MAX_ISSUES = 20  # issues of one message
SHORT = reprlib.Repr()
SHORT.maxstring = SHORT.maxother = SHORT.maxlong = 80

Schema = TypeVar("Schema", bound=BaseModel)


@dataclass(frozen=True)
class Layer:
    """One place that sets fields: a file or a `--set`."""

    origin: str
    values: dict


def validated(schema: type[Schema], values: dict[str, Any], origin: str) -> Schema:
    """Turn the plain values of one file, `origin`, into what `schema` describes.

    Raises InputError with every fault in one line.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise InputError(joined(issues_of(error, [Layer(origin, values)], schema, ()))) from error


def joined(issues: list[str]) -> str:
    """Return faults as one line, the first `MAX_ISSUES` of them."""
    more = [f"and {len(issues) - MAX_ISSUES} more"] if len(issues) > MAX_ISSUES else []
    return "; ".join(issues[:MAX_ISSUES] + more)


def issues_of(
    error: ValidationError, layers: list[Layer], schema: type[BaseModel], prefix: tuple[str, ...]
) -> list[str]:
    """Return one line for each fault, with its file and field; `prefix` is where `schema` lies in the layers."""
    return [_fault(entry, layers, schema, prefix) for entry in error.errors()]


def _fault(entry: Any, layers: list[Layer], schema: type[BaseModel], prefix: tuple[str, ...]) -> str:
    location = prefix + entry["loc"]
    name = ".".join(str(part) for part in location)
    origin = origin_of(layers, location)
    if entry["type"] == "extra_forbidden":
        parent = "".join(f"{part}." for part in location[:-1])
        valid = _fields(schema, entry["loc"][:-1])
        return f"{origin}: unknown field '{name}'{nearest(str(location[-1]), valid, parent)}"
    message = entry["msg"].removeprefix("Value error, ")
    if not location:
        return f"{origin}: {message}"
    value = entry["input"]
    given = "" if isinstance(value, dict | BaseModel) else f" (it is {SHORT.repr(value)})"
    return f"{origin}: field '{name}': {message}{given}"


def origin_of(layers: list[Layer], location: tuple) -> str:
    """Return the last layer that sets `location`, or the nearest field above it."""
    for length in range(len(location), 0, -1):
        for layer in reversed(layers):
            if _has(layer.values, location[:length]):
                return layer.origin
    return layers[-1].origin


def _has(values: Any, location: tuple) -> bool:
    for part in location:
        try:
            values = values[str(part)] if isinstance(values, dict) else values[part]
        except (KeyError, IndexError, TypeError):
            return False
    return True


def _fields(schema: type[BaseModel], location: tuple) -> list[str]:
    """Return the field names of the section at `location`."""
    for part in location:
        if isinstance(part, str):
            field = next((f for n, f in schema.model_fields.items() if part in (n, f.alias)), None)
            inner = field and _section(field.annotation)
            if inner is None:
                return []
            schema = inner
    return [field.alias or name for name, field in schema.model_fields.items()]


def _section(annotation: Any) -> type[BaseModel] | None:
    """Return the configuration class inside an annotation such as `list[X]` or `X | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_section(argument) for argument in typing.get_args(annotation))
    return next((section for section in found if section), None)


def nearest(name: str, valid: Iterable[str], parent: str = "") -> str:
    """Return ", did you mean ...?" with the valid name nearest to `name`, nothing where none is near."""
    close = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.5)
    return f", did you mean '{parent}{close[0]}'?" if close else ""
