"""One row of `SourceConfig` an origin: whatever asks where data come from asks these rows."""

from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

from detectors.config import source as module
from detectors.config.source import FIELD_OF, MAIN_ORIGINS, ORIGINS, Origin, SourceConfig, is_other_origin, source_at


def test_every_origin_has_a_reader() -> None:
    assert set(ORIGINS) == {"json", "phantoms", "masks", "patches", "volumes", "ct_phantoms", "images"}
    for origin in ORIGINS.values():
        file, name = origin.reader.split(":")
        assert callable(getattr(__import__(file, fromlist=[name]), name))


@pytest.mark.parametrize(
    ("fields", "name", "location"),
    [
        ({"json": "a.json", "images": "b"}, "json", "a.json"),
        ({"masks": "m", "images": "b"}, "masks", "m"),
        ({"patches": "p.npz"}, "patches", "p.npz"),
        ({"images": "b"}, "images", "b"),
        ({"phantoms": {"n": 3}}, "phantoms", None),
    ],
)
def test_a_source_knows_its_origin(fields: dict, name: str, location: str | None) -> None:
    source = SourceConfig.model_validate(fields | {"weight": 3, "box_padding": 2, "repeat": 5})
    assert source.origin_name == name
    assert location is None or source.location == location
    replaced = source.replaced_by(Path("c.json"), Path("d"))
    assert replaced == SourceConfig.model_validate(
        {"json": "c.json", "images": "d", "weight": 3, "box_padding": 2, "repeat": 5}
    )


@pytest.mark.parametrize(
    "fields",
    [{}, {"json": "a", "masks": "b"}, {"json": "a", "phantoms": {}}, {"masks": "a"}, {"patches": "a", "images": "b"}],
)
def test_what_is_no_source_is_refused(fields: dict) -> None:
    with pytest.raises(ValueError, match=r"give one of 'json'|'images' goes with|needs 'images'"):
        SourceConfig.model_validate(fields)


def test_another_origin_is_told_from_more_fields_of_the_same() -> None:
    assert is_other_origin({"phantoms": {}, "box_padding": 3}, {"json": "a"})
    assert is_other_origin({"phantoms": {}}, {"images": "a"})
    assert is_other_origin({"patches": "p"}, {"images": "a"})
    assert not is_other_origin({"json": "a"}, {"images": "b"})
    assert not is_other_origin({"masks": "a"}, {"images": "b"})
    assert not is_other_origin({"json": "a"}, {"json": "b"})
    assert not is_other_origin({"phantoms": {}}, {"weight": 2})


def test_what_a_path_stands_for(tmp_path: Path) -> None:
    assert source_at(tmp_path, tmp_path).masks == str(tmp_path)
    assert source_at(tmp_path, None).patches == str(tmp_path)
    assert source_at(Path("patches.npz"), None).patches == "patches.npz"
    assert source_at(Path("a.json"), tmp_path).images == str(tmp_path)
    assert source_at(Path("a.txt"), None).json_file == "a.txt"
    assert source_at(Path("a.json"), None, of_volumes=True).volumes == "a.json"
    assert source_at(tmp_path, tmp_path, of_volumes=True).volumes == str(tmp_path)


def test_a_new_origin_is_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """As volumes will be: a field with its row, and the function that reads it."""

    class WithScans(SourceConfig):
        scans: Annotated[
            str | None, Origin("builtins:repr", "a scan", content="volumes", suffixes=(".scan",), folder="never")
        ] = Field(None, description="A scan.")

    monkeypatch.setattr(module, "SourceConfig", WithScans)
    rows = module._rows()
    origins = {name: origin for name, (_, origin) in rows.items()}
    monkeypatch.setattr(module, "ORIGINS", origins)
    monkeypatch.setattr(module, "FIELD_OF", {name: field for name, (field, _) in rows.items()})
    monkeypatch.setattr(module, "MAIN_ORIGINS", tuple(name for name in origins if name != "images"))
    source = source_at(Path("a.scan"), None)
    assert (source.origin_name, source.location, source.origin.content) == ("scans", "a.scan", "volumes")
    assert "scans='a.scan'" in source.origin.read(source)
    assert is_other_origin({"phantoms": {}}, {"scans": "a"})
    with pytest.raises(ValueError, match=r"'scans' \(a scan\)"):
        WithScans.model_validate({})
    assert (set(FIELD_OF), set(MAIN_ORIGINS)) == (set(ORIGINS), set(ORIGINS) - {"images"})
