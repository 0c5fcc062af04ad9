"""A tiny exported model, an archive, and what it finds there, which the tests of archives share."""

from pathlib import Path

import pytest
from archives import COUNT, export_tiny, predict, write_archive


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_tiny(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_archive(tmp_path_factory.mktemp("archive"), COUNT)


@pytest.fixture(scope="session")
def whole(model: Path, radiographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an undisturbed run leaves."""
    out = tmp_path_factory.mktemp("whole") / "out"
    result = predict(model, radiographs, out)
    assert result.exit_code == 0, result.output
    return out
