"""Independent tasks in processes of this machine. On a cluster: `detectors.archives.tasks`."""

import contextlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import cv2

from data.errors import InputError

Tasks = Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[Any]]
"""An engine: yields what a function of a module returns for each of some items, in any order.

Raises what the function raises, and InputError where a worker ended. Whoever stops iterating stops the work.
"""


class ProcessTasks:
    """The engine of this machine: `workers` processes, by default one a core; with one, or one item, this process."""

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or os.cpu_count() or 1

    def __call__(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        """Yield the results as they come; see `Tasks`."""
        count = min(self.workers, len(items))
        if count <= 1:
            yield from map(function, items)
            return
        rest = iter(items)
        working = dict(_start(function) for _ in range(count))
        try:
            for connection, item in zip(working, rest, strict=False):
                _give(connection, item)
            while working:
                ready = wait([*working])
                for connection in [one for one in working if one in ready]:
                    result = _received(connection)
                    for item in islice(rest, 1):
                        _give(connection, item)
                        break
                    else:
                        connection.close()
                        working.pop(connection).join()
                    yield result
        finally:  # after Ctrl-C, too: a task may take hours, and its process leaves the signal to this one
            for connection, process in working.items():
                connection.close()
                process.terminate()
                process.join()


def _start(function: Callable[[Any], Any]) -> tuple[Connection, BaseProcess]:
    """Start a process that works on what comes through a pipe; return this end of it."""
    # A fresh process: forking one that has threads (OpenCV, torch) can hang. No daemon, as it may have its own.
    context = multiprocessing.get_context("spawn")
    connection, other = context.Pipe()
    process = context.Process(target=_serve, args=(other, function))
    process.start()
    other.close()  # or its end would not be seen here
    return connection, process


def _give(connection: Connection, item: Any) -> None:
    with contextlib.suppress(OSError):  # a process that has just ended is noticed when its result is asked for
        connection.send(item)


def _received(connection: Connection) -> Any:
    """Return a result. Raises what the function raised, and InputError where the process ended."""
    try:
        error, result = connection.recv()
    except (EOFError, OSError) as ended:
        raise _died() from ended
    if error is not None:
        raise error
    return result


def _serve(connection: Connection, function: Callable[[Any], Any]) -> None:
    """Answer items with (None, result), or with (error, None), until the other end of the pipe is closed."""
    _start_worker()
    with contextlib.suppress(EOFError, OSError):
        while True:
            item = connection.recv()
            answer: tuple[Exception | None, Any]
            try:
                answer = None, function(item)
            except Exception as error:
                if not isinstance(error, InputError):
                    error.add_note(traceback.format_exc())
                answer = error, None
            connection.send(answer)


def map_in_processes(function: Any, items: list[Any], workers: int) -> Iterator[Any]:
    """Yield function(item) in order, from `workers` processes, or from this one where workers is 1."""
    if workers == 1:
        yield from map(function, items)
        return
    # Fresh processes, as above.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_start_worker)
    try:
        yield from pool.map(function, items, chunksize=max(1, min(8, len(items) // (4 * workers))))
    except BrokenProcessPool as error:
        raise _died() from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _died() -> InputError:
    return InputError("a worker process died, perhaps for lack of memory; give fewer --workers")


def _start_worker() -> None:
    """Keep a worker to one thread, leave Ctrl-C to the parent, which stops its workers, and end with the parent."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Wait for the parent's end, and end too: a killed parent would leave its workers waiting for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
