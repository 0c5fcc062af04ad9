"""The pages that are made from the code are current, and the documents point at files that exist."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

from detectors.build import MODELS
from detectors.config.files import CONFIGS, read_config
from detectors.config.reference import configuration_schema, section_classes, undescribed_fields

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_current(generate: ModuleType) -> None:
    old = [path.name for path, text in generate.PAGES.items() if not path.is_file() or path.read_text() != text()]
    assert old == [], "run: python docs/generate.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        path = page.parent / file if file else page
        assert path.exists(), f"{page.name}: {target}"
        if anchor and path.suffix == ".md":
            assert anchor in _anchors(path.read_text(encoding="utf-8")), f"{page.name}: {target}"


def _anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r'<a id="([^"]+)">', text))


def test_the_schema_knows_every_section_and_field() -> None:
    schema = configuration_schema()
    sections = {"ExperimentConfig": schema, **schema["$defs"]}
    for config in section_classes():
        if config.__name__ == "ModelSection":
            continue
        present = {field.alias or name for name, field in config.model_fields.items()}
        former = set(config.former_names_of_all())
        assert present | former <= set(sections[config.__name__]["properties"]), config.__name__
        assert sections[config.__name__]["additionalProperties"] is False
    assert len(schema["properties"]["model"]["oneOf"]) == len({config for config, _ in MODELS.values()})


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_packaged_configurations_fit_the_schema(path: Path) -> None:
    """Resolved, so that what a file inherits is there too."""
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(json.loads(json.dumps(read_config(path).as_dict())), configuration_schema())


def test_every_field_is_described() -> None:
    assert undescribed_fields() == []
