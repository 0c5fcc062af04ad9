"""A tiny exported model that the tests of archives share."""

from pathlib import Path

import pytest
from archives import export_tiny


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_tiny(tmp_path_factory.mktemp("model"))
