"""Watches a process that works through hostile cases: what hangs, dies or swells is a failure, as is a traceback."""

import collections
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 30  # that a case may take, on a machine with other things to do
MEMORY = 1 << 30  # bytes by which it may raise the peak
GOOD = ("answer", "refused")


def run_cases(
    kind: str, start: int, count: int, seconds: float = SECONDS, memory: int = MEMORY
) -> tuple[collections.Counter[str], dict[int, str]]:
    """Run the cases `start` to `start + count` of a kind; return how often each outcome came, and what failed.

    After a hang or the death of the process a new one goes on behind the case. What failed is a text for each number:
    an exception that is no InputError, a hang, a signal, more memory than allowed, or a start that failed.
    """
    seen: collections.Counter[str] = collections.Counter()
    failed: dict[int, str] = {}
    number, stop = start, start + count
    while number < stop:
        number = _one_process(kind, number, stop, (seconds, memory), seen, failed)
    return seen, failed


def _one_process(
    kind: str, start: int, stop: int, limits: tuple[float, int], seen: collections.Counter[str], failed: dict[int, str]
) -> int:
    """Run cases until the process ends; return the number of the next case."""
    seconds, memory = limits
    command = [sys.executable, "-m", "tests.hostile.worker", kind, "--start", str(start), "--count", str(stop - start)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    assert process.stderr is not None
    current: int | None = None  # the case at work
    following, rest, last = start, b"", time.monotonic()
    allowance = seconds + 120  # a start imports everything
    try:
        while True:
            if not select.select([process.stdout], [], [], 0.5)[0]:
                if time.monotonic() - last > allowance:
                    process.kill()
                    failed[following] = f"no answer in {seconds:g} s"
                    return following + 1
                continue
            chunk = os.read(process.stdout.fileno(), 1 << 16)
            if not chunk:
                break
            last, allowance = time.monotonic(), seconds
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                following, found, grown = json.loads(line)
                current = following if found is None else None
                if found is None:
                    continue
                seen[found if found in GOOD else "failed"] += 1
                if found not in GOOD:
                    failed[following] = found
                elif grown > memory:
                    failed[following] = f"{grown >> 20} MiB of memory"
                following += 1
        words = process.stderr.read().decode(errors="replace")
    finally:
        process.kill()
        code = process.wait()
        process.stdout.close()
        process.stderr.close()
    if current is not None:
        reason = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        failed[current] = f"the process died: {reason}"
        return current + 1
    if following < stop:
        failed[following] = f"the process does not start: {words[-500:]}"
        return stop
    return stop
