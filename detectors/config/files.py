"""From YAML files and `--set` overrides to an `ExperimentConfig`, with every error at once."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from data.errors import InputError
from data.files import write_text
from detectors.build import MODELS
from detectors.config.experiment import ExperimentConfig
from detectors.config.faults import SHORT, Layer, issues_of, joined, nearest, origin_of
from detectors.config.source import is_other_origin
from detectors.config.yaml_reader import parse_yaml, read_yaml
from detectors.schema import ModelSection

CONFIGS = Path(__file__).resolve().parents[1] / "configs"  # package data, beside the code wherever that is
MAX_LINKS = 20  # files that extend one another

_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")  # YAML 1.1 takes 1e-3, without a point, for a string


def find_config(name: str | Path) -> Path:
    """Return the path of a configuration: a path as it stands, or the name of a packaged one.

    Raises InputError that names the nearest configuration.
    """
    for candidate in (Path(name), CONFIGS / name, CONFIGS / f"{name}.yaml"):
        if _is_file(candidate):
            return candidate
    known = sorted(path.name for path in CONFIGS.glob("*.yaml"))
    raise InputError(f"{name}: no such configuration{nearest(str(name), known)}; packaged: {', '.join(known)}")


def read_config(name: str | Path, overrides: Iterable[str] = ()) -> ExperimentConfig:
    """Read a configuration by name or path, follow `extends`, apply `a.b=value` overrides, check everything.

    Raises InputError naming, for every wrong field, the field, the file that sets it and the nearest valid name.
    """
    path = find_config(name)
    files, overriding = _file_layers(path, seen=()), [_override_layer(text) for text in overrides]
    # Before anything is laid over anything: an old name must meet the present one that it stands for.
    schema = _model_class(_merged(files + overriding).get("model"))
    files, overriding = ([_with_present_names(layer, schema) for layer in layers] for layers in (files, overriding))
    values = _merged(files)
    values.setdefault("name", path.stem)
    # The overrides are one layer among themselves: their order must not matter where they name different fields.
    return check_config(_merge(values, _merged(overriding)), files + overriding)


def check_config(values: Mapping[str, Any], layers: list[Layer] | None = None) -> ExperimentConfig:
    """Turn plain values into a configuration. Raises InputError with every issue in one line."""
    layers = layers or [Layer("configuration", dict(values))]
    section = values.get("model")
    schema = _model_class(section)
    if schema is None or not isinstance(section, Mapping):
        given = section.get("name") if isinstance(section, Mapping) else section
        raise InputError(
            f"{origin_of(layers, ('model', 'name'))}: model.name is {SHORT.repr(given)}"
            f"{nearest(str(given)[:80], MODELS)}; valid names: {', '.join(sorted(MODELS))}"
        )
    issues = []
    model: ModelSection = schema.model_construct(name=section["name"])
    try:
        model = schema.model_validate(dict(section))
    except ValidationError as error:
        issues += issues_of(error, layers, schema, ("model",))
    try:
        config = ExperimentConfig.model_validate({**values, "model": model})
    except ValidationError as error:
        issues += issues_of(error, layers, ExperimentConfig, ())
    if issues:
        raise InputError(joined(issues))
    return config


def describes(values: Any, config: ExperimentConfig) -> bool:
    """Return whether plain values, of an older version of this toolkit, too, are those of a configuration."""
    try:
        return isinstance(values, dict) and check_config(values).as_dict() == config.as_dict()
    except InputError:
        return False


def write_config(path: Path, config: ExperimentConfig) -> None:
    """Write the resolved configuration as YAML, atomically."""
    write_text(path, yaml.safe_dump(config.as_dict(), sort_keys=False))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _model_class(section: Any) -> type[ModelSection] | None:
    """Return the configuration class of a `model` section, None where it names no model."""
    name = section.get("name") if isinstance(section, Mapping) else None
    return MODELS[name][0] if isinstance(name, str) and name in MODELS else None


def _with_present_names(layer: Layer, schema: type[ModelSection] | None) -> Layer:
    """Return a layer with the old names of fields and words replaced. Raises InputError where both are given."""
    try:
        values = ExperimentConfig.with_present_names(layer.values)
        if schema is not None and "model" in values:
            values["model"] = schema.with_present_names(values["model"])
    except ValueError as error:
        raise InputError(f"{layer.origin}: {error}") from error
    return Layer(layer.origin, values)


def _file_layers(path: Path, seen: tuple[Path, ...]) -> list[Layer]:
    """Return the layers of a file, the one that it extends first."""
    if path.resolve() in seen:
        raise InputError(f"{path}: 'extends' leads back to itself; remove one of the {len(seen)} links")
    if len(seen) >= MAX_LINKS:
        raise InputError(f"{path}: the {MAX_LINKS}th file that another one extends; join some of them")
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise InputError(f"{path}: a configuration is a mapping of fields, not {type(values).__name__}")
    parent = values.pop("extends", None)
    layer = Layer(str(path), values)
    if parent is None:
        return [layer]
    if not isinstance(parent, str) or not parent:
        raise InputError(f"{path}: extends is {SHORT.repr(parent)}; give the name of a configuration or a path")
    beside = path.parent / parent
    return [*_file_layers(beside if _is_file(beside) else find_config(parent), (*seen, path.resolve())), layer]


def _override_layer(text: str) -> Layer:
    name, separator, value = text.partition("=")
    keys = name.strip().split(".")
    origin = f"--set {text if len(text) <= 80 else text[:80] + ' ...'}"
    if not separator or not all(keys):
        raise InputError(f"{origin}: give a field and a value, such as train.epochs=5")
    values: Any = float(value) if _EXPONENT.fullmatch(value.strip()) else parse_yaml(value, origin)
    for key in reversed(keys):
        values = {key: values}
    return Layer(origin, values)


def _merged(layers: list[Layer]) -> dict:
    values: dict = {}
    for layer in layers:
        values = _merge(values, layer.values)
    return values


def _merge(base: dict, over: dict) -> dict:
    """Lay `over` on `base`, section by section; the keys 0, 1, ... of a section name the elements of a list."""
    if is_other_origin(base, over):
        # What was said of the old origin of data, such as its padding, does not hold for the new one.
        return dict(over)
    merged = dict(base)
    for key, value in over.items():
        inner = merged.get(key)
        if _is_positional(value) and inner is not None and not _is_positional(inner):
            merged[key] = _merge_list(key, inner if isinstance(inner, list) else [inner], value)
        else:
            merged[key] = _merge(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged


def _is_positional(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(re.fullmatch("[0-9]{1,6}", str(key)) for key in value)


def _merge_list(key: str, base: list, over: dict) -> list:
    """Lay elements, keyed by position, on a list; one section stands for a list of one, as one source does."""
    elements = dict(enumerate(base))
    for position, value in sorted((int(position), value) for position, value in over.items()):
        if position > len(elements):
            raise InputError(f"{key}.{position}: there are {len(elements)} before it; the next one is {len(elements)}")
        elements = _merge(elements, {position: value})
    return list(elements.values())


def with_window_of(run: Path, config: ExperimentConfig) -> ExperimentConfig:
    """Return a configuration with the window that a run chose, if it would choose among the same.

    Raises InputError for a run whose configuration cannot be read.
    """
    window, file = config.data.window, run / "config.yaml"
    if window.trained_on is not None or not file.is_file():
        return config
    chosen = read_config(file).data.window
    kinds = {"auto": ("auto", "fitted")}.get(window.kind, (window.kind,))
    if chosen.trained_on is None or chosen.kind not in kinds or (chosen.low, chosen.high) != (window.low, window.high):
        return config
    return config.model_copy(update={"data": config.data.model_copy(update={"window": chosen})})
