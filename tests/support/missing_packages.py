"""The console command where packages are not installed."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys

sys.modules.update(dict.fromkeys({missing!r}))  # as if they were not installed
from radiograph.cli import main
main({arguments!r})
"""


def run_without(missing: Sequence[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `radiograph` with these arguments in a process that cannot import the packages `missing`."""
    script = SCRIPT.format(missing=list(missing), arguments=list(arguments))
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
