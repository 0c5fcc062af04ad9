"""Independent tasks in processes: every result once, errors as they are, and no worker left behind."""

import multiprocessing
import os
import time

import pytest

from data.errors import InputError
from data.tasks import ProcessTasks


def work(item: object) -> tuple[int, int]:
    """What a worker does with an item: a number to double, a file to remove, or a way to fail."""
    if item == "die":
        os._exit(1)
    if item == "fail":
        raise InputError("casting.png: torn")
    if item == "sleep":
        time.sleep(600)
    assert isinstance(item, int)
    return os.getpid(), 2 * item


def test_every_item_is_worked_on_once_by_several_processes() -> None:
    results = list(ProcessTasks(2)(work, range(20)))
    assert sorted(value for _, value in results) == [2 * k for k in range(20)]
    assert os.getpid() not in {process for process, _ in results}
    assert list(ProcessTasks(1)(work, [3, 4])) == [(os.getpid(), 6), (os.getpid(), 8)]
    assert list(ProcessTasks(2)(work, [])) == []


def test_errors_are_raised_and_stop_what_would_take_hours() -> None:
    start = time.monotonic()
    with pytest.raises(InputError, match=r"casting\.png: torn"):
        list(ProcessTasks(2)(work, ["sleep", "fail"]))
    with pytest.raises(InputError, match="a worker process died"):
        list(ProcessTasks(2)(work, [1, "die", 2]))
    assert time.monotonic() - start < 60
    assert not multiprocessing.active_children()


def test_whoever_stops_iterating_stops_the_work() -> None:
    results = ProcessTasks(2)(work, [1, "sleep", "sleep"])
    assert next(results)[1] == 2
    results.close()
    assert not multiprocessing.active_children()
