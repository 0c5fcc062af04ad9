"""Runs numbered cases of one kind and tells by lines of JSON what became of each; `watch.py` starts and watches it.

`python -m tests.hostile.worker KIND --only NUMBER` runs one case with its traceback.
"""

import argparse
import contextlib
import importlib
import json
import os
import re
import resource
import tempfile
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

from data.errors import InputError

Case = Callable[[int], None]

ADDRESS_SPACE = 8 << 30  # bytes; an allocation beyond it is a MemoryError instead of a swapping machine
ROOT = Path(__file__).resolve().parents[2]


def outcome(case: Case, number: int) -> str:
    """Return "answer", "refused", or the kind of any other exception with the line of the project that it came from."""
    try:
        case(number)
    except InputError:  # commands put its message, which may quote a value with line breaks, on one line
        return "refused"
    except Exception as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).is_relative_to(ROOT)]
        place = f"{Path(frames[-1].filename).relative_to(ROOT)}:{frames[-1].lineno}" if frames else "?"
        return f"{type(error).__name__} at {place}: {' '.join(str(error).split())[:120]}"
    return "answer"


def memory(name: str) -> int:
    """Return VmRSS (now) or VmHWM (peak) of this process in bytes; 0 where the system does not tell."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    found = re.search(rf"{name}:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0


def forget_peak() -> None:
    """Let VmHWM start again from what is used now."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind")
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--only", type=int)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        report = os.fdopen(os.dup(1), "w", buffering=1)
        if options.only is None:  # the reports alone go out
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        case: Case = importlib.import_module(f"tests.hostile.{options.kind}").make_case(Path(folder))
        if options.only is not None:
            case(options.only)
            return
        os.dup2(1, 2)
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
        for number in range(options.start, options.start + options.count):
            print(json.dumps([number, None, 0]), file=report)
            forget_peak()
            before = memory("VmRSS")
            found = outcome(case, number)
            print(json.dumps([number, found, memory("VmHWM") - before]), file=report)


if __name__ == "__main__":
    main()
