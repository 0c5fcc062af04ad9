"""Thousands of damaged and hostile files of every kind that the toolkit reads: each is read, or refused in one line.

Nothing may raise another exception than InputError, take longer than a limit, kill the process, or take more than
1 GiB. A case depends on its number alone. `HOSTILE_CASES` gives another number of cases for each kind than 2,000 and
`HOSTILE_START` another first one: `HOSTILE_CASES=20000 HOSTILE_START=1000000 pytest -m "" tests/hostile`.
`python -m tests.hostile.worker KIND --only NUMBER` shows the traceback of one.
"""

import os

import pytest

from tests.hostile.watch import run_cases

CASES = int(os.environ.get("HOSTILE_CASES", "2000"))
START = int(os.environ.get("HOSTILE_START", "0"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["images", "coco_files", "gdxray_folders", "configurations", "run_files"])
def test_hostile_files_are_read_or_refused(kind: str) -> None:
    seen, failed = run_cases(kind, START, CASES)
    assert not failed, "\n".join(f"{kind} {number}: {words}" for number, words in sorted(failed.items()))
    assert sum(seen.values()) == CASES
    # Cases that are all refused, or all taken, would test nothing.
    if CASES >= 100:
        assert min(seen["answer"], seen["refused"]) > CASES / 100, seen


@pytest.mark.slow
def test_the_watch_sees_every_way_to_fail() -> None:
    seen, failed = run_cases("misbehaving", 0, 9, seconds=10, memory=60 << 20)
    assert (seen["answer"], seen["refused"]) == (4, 1)  # 0, 6, 8 and 5, which only takes too much memory
    assert sorted(failed) == [2, 3, 4, 5, 7]
    assert failed[2].startswith("KeyError at tests/hostile/misbehaving.py:")
    assert failed[3] == "no answer in 10 s"
    assert failed[4] == "the process died: SIGABRT"
    assert failed[5].endswith("MiB of memory")
    assert "MemoryError" in failed[7]


def test_an_unknown_kind_fails() -> None:
    seen, failed = run_cases("nothing", 5, 3)
    assert not seen
    assert list(failed) == [5]
    assert "No module named" in failed[5]
