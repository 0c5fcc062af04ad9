"""The public face of the package, in a process of its own."""

import subprocess
import sys

import pytest

import detectors


def test_the_face_is_imported_when_it_is_used() -> None:
    code = (
        "import sys, detectors\n"
        "assert set(detectors.__all__) <= set(dir(detectors))\n"
        "assert 'torch' not in sys.modules\n"
        "from detectors import Predictor, read_config, train\n"
        "print(Predictor.__name__, read_config('quickstart').name, train.__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300)
    assert (done.stdout, done.stderr) == ("Predictor quickstart train\n", "")


def test_other_names_are_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        detectors.nonsense  # noqa: B018
