"""Cases that fail in every way there is, to test the watch itself."""

import os
import time
from pathlib import Path

import numpy as np

from data.errors import InputError
from tests.hostile.worker import Case


def make_case(folder: Path) -> Case:
    """Return a case whose number says how it ends."""

    def case(number: int) -> None:
        match number:
            case 1:
                raise InputError("one line")
            case 2:
                raise KeyError("images")
            case 3:
                time.sleep(600)
            case 4:
                os.abort()
            case 5:
                np.ones(120 << 20, np.uint8).sum()
            case 7:
                np.ones(9 << 30, np.uint8)

    return case
