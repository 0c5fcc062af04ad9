"""The configuration's fields as a page to read and as a JSON schema for editors, both made from the classes."""

import inspect
import json
from collections.abc import Iterator, Mapping
from functools import reduce
from operator import or_
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, Field, create_model

from data.schema import StrictModel
from detectors.build import MODELS
from detectors.config.experiment import ExperimentConfig

JsonSchema = Mapping[str, Any]

INTRODUCTION = """\
# Configuration

A configuration is a YAML file. `radiograph show-config` lists the packaged ones, `radiograph show-config NAME` prints
one with all its fields. A file lists only the fields that differ from its parent, which `extends` names: a packaged
configuration or a file beside it. `--set FIELD=VALUE` overrides any field, with a dot between a section and its field:

```bash
radiograph train --cfg quickstart --set train.epochs=5 --set data.train.0.weight=2
```

An unknown field or a value out of range is an error that names the field, the file and the nearest valid name. For
completion and checks while you type, point your editor's YAML extension to
[configuration.schema.json](configuration.schema.json) (also `radiograph show-config --schema`), for example with the
first line `# yaml-language-server: $schema=PATH/configuration.schema.json`.

This page is generated from the code by `docs/generate.py`.
"""


def configuration_schema() -> dict[str, Any]:
    """Return the JSON schema of a configuration file.

    Former names of fields are part of it, marked as deprecated, since they are still read; no field is required,
    since a file may extend another.
    """
    models = reduce(or_, (config for config, _ in MODELS.values()))
    experiment: type[BaseModel] = create_model(
        "ExperimentConfig",
        __base__=ExperimentConfig,
        __doc__=ExperimentConfig.__doc__,
        model=(models, Field(discriminator="name", description=ExperimentConfig.model_fields["model"].description)),
    )
    schema = experiment.model_json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["properties"]["extends"] = {
        "description": "The configuration whose fields this one starts from: a packaged one, or a file beside this.",
        "type": "string",
    }
    classes = {config.__name__: config for config in section_classes()}
    for name, section in (("ExperimentConfig", schema), *schema["$defs"].items()):
        section.pop("required", None)
        for former, present in classes[name].former_names_of_all().items() if name in classes else ():
            section["properties"][former] = {
                "deprecated": True,
                "description": f"Former name of `{present}`.",
            }
    train = schema["$defs"]["DataConfig"]["properties"]["train"]
    train["anyOf"] = [{"type": "array", "items": train.pop("items")}, {"$ref": "#/$defs/SourceConfig"}]
    train.pop("type", None)
    return schema


def section_classes() -> list[type[StrictModel]]:
    """Return every class that describes a section of a configuration, each once, from the whole to its parts."""
    roots: list[type[StrictModel]] = [ExperimentConfig, *(config for config, _ in MODELS.values())]
    found: dict[type[StrictModel], None] = {}
    for root in roots:
        _collect(root, found)
    return list(found)


def undescribed_fields() -> list[str]:
    """Return the fields that have no description, as Class.field."""
    return [
        f"{config.__name__}.{field.alias or name}"
        for config in section_classes()
        for name, field in config.model_fields.items()
        if not field.description and not _is_constant(field.annotation)
    ]


def reference_page() -> str:
    """Return the configuration reference as Markdown: a table of the fields of every section."""
    schema = configuration_schema()
    sections = {"ExperimentConfig": schema, **schema["$defs"]}
    paths = _paths(sections)
    parts = [INTRODUCTION]
    for config in section_classes():
        if config.__name__ in sections:
            parts.append(_section_text(config, sections[config.__name__], paths))
    return "\n".join(parts)


def schema_text() -> str:
    """Return the JSON schema as text."""
    return json.dumps(configuration_schema(), indent=1) + "\n"


def _collect(config: type[StrictModel], found: dict[type[StrictModel], None]) -> None:
    if config in found:
        return
    found[config] = None
    for field in config.model_fields.values():
        for inner in _sections_in(field.annotation):
            if config is not ExperimentConfig or inner.__name__ != "ModelSection":
                _collect(inner, found)


def _sections_in(annotation: Any) -> Iterator[type[StrictModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, StrictModel):
        yield annotation
    for part in get_args(annotation):
        yield from _sections_in(part)


def _is_constant(annotation: Any) -> bool:
    """Return whether a field takes one value alone, as a model's name does."""
    return get_origin(annotation) is Literal and len(get_args(annotation)) == 1


def _paths(sections: Mapping[str, JsonSchema]) -> dict[str, list[str]]:
    """Return for each class the fields that hold it, as dotted paths; where there are several models, without them."""
    paths: dict[str, list[str]] = {name: [] for name in sections}

    def walk(name: str, prefix: str) -> None:
        for field, value in sections[name]["properties"].items():
            if value.get("deprecated") or (field == "model" and name == "ExperimentConfig"):
                continue
            for inner in _references(value):
                path = f"{prefix}{field}"
                if path not in paths[inner]:
                    paths[inner].append(path)
                    walk(inner, f"{path}.")

    walk("ExperimentConfig", "")
    for config, _ in MODELS.values():
        if config.__name__ in sections:
            paths[config.__name__] = ["model"]
            walk(config.__name__, "model.")
    return paths


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if "$ref" in value:
            yield value["$ref"].rpartition("/")[2]
        for key, inner in value.items():
            if key != "discriminator":
                yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


def _section_text(config: type[StrictModel], section: JsonSchema, paths: Mapping[str, list[str]]) -> str:
    names = [name for name, (model, _) in MODELS.items() if model is config]
    where = ", ".join(f"`{path}`" for path in paths[config.__name__])
    title = f"Model `{names[0]}`" if names else (where or "The file")
    lines = [f"## {title}", f'<a id="{_anchor(config.__name__)}"></a>', "", inspect.cleandoc(config.__doc__ or ""), ""]
    lines += ["| field | values | default | meaning |", "|---|---|---|---|"]
    for name, value in section["properties"].items():
        if not value.get("deprecated") and name != "extends" and "const" not in value:
            row = (f"`{name}`", _values(value), _default(value), value.get("description", ""))
            lines.append(f"| {' | '.join(_cell(text) for text in row)} |")
    former = ", ".join(f"`{old}` (now `{new}`)" for old, new in config.former_names_of_all().items())
    if former:
        lines += ["", f"Former names that are still read: {former}."]
    return "\n".join([*lines, ""])


def _anchor(name: str) -> str:
    return name.removesuffix("Config").lower()


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _default(value: JsonSchema) -> str:
    if "default" not in value:
        return "required"
    default = value["default"]
    if isinstance(default, Mapping) or (isinstance(default, list) and any(isinstance(d, Mapping) for d in default)):
        return "its section's"
    return f"`{json.dumps(default)}`" if not isinstance(default, str) else f"`{default}`"


def _values(value: JsonSchema) -> str:
    """Return in words what a field takes."""
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        return f"[{_anchor(name)}](#{_anchor(name)})"
    options = value.get("anyOf") or value.get("oneOf")
    if options:
        return " or ".join(dict.fromkeys(_values(option) for option in options))
    if "enum" in value:
        return ", ".join(f"`{option}`" for option in value["enum"])
    if value.get("type") == "array":
        return _list_values(value)
    words = {"boolean": "true or false", "string": "text", "null": "null"}
    kind: str = value.get("type", "anything")
    return words.get(kind, kind + _limits(value))


def _list_values(value: JsonSchema) -> str:
    if "prefixItems" in value:
        return f"[{', '.join(_values(item) for item in value['prefixItems'])}]"
    return f"list of {_values(value['items'])}" if "items" in value else "list"


def _limits(value: JsonSchema) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {value[key]:g}" for key, sign in signs.items() if key in value]
    return f" {', '.join(limits)}" if limits else ""
