"""From a configuration's sources to data."""

import pytest

from data.errors import InputError
from detectors.config import DataConfig
from detectors.sources import refuse_simulation


def test_simulated_defects_are_refused_where_nothing_would_come_of_them() -> None:
    """Patches and masks take files; silence would train on radiographs without the defects asked for."""
    phantoms = {"phantoms": {"n": 2}}
    refuse_simulation(DataConfig(train=[phantoms]))
    with pytest.raises(InputError, match=r"tools/simulate_defects.py"):
        refuse_simulation(DataConfig(train=[phantoms, phantoms | {"simulate": {}}]))
