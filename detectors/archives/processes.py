"""The engine of one machine: this process alone, or several plain ones with a model each."""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator
from itertools import chain
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from data.errors import InputError
from detectors.archives.job import Job, Result, Unit

TRIES = 3  # of a unit whose process ends, for want of memory or by a fault in a codec


class Processes:
    """An engine of `count` processes; with one, the work is done in this process. `gpus` are shared evenly."""

    def __init__(self, count: int, gpus: int = 0) -> None:
        self.count, self.gpus = count, gpus

    def __call__(self, job: Job, units: Iterator[Unit]) -> Iterator[Result]:
        """Yield the results of all units in any order; see `Engine`."""
        if self.count > 1:
            yield from self._share(job, units)
            return
        from detectors.archives.worker import Worker

        yield from map(Worker(job), units)

    def _share(self, job: Job, units: Iterator[Unit]) -> Iterator[Result]:
        """Give each process a unit at a time. One that ends is replaced, and its unit tried again."""
        tries: dict[int, int] = {}
        again: list[Unit] = []
        first = list(zip(range(self.count), units, strict=False))  # no more processes than units
        working = {self._start(job, index): unit for index, unit in first}
        rest = iter(units)
        try:
            for process, unit in working.items():
                process.give(unit)
            while working:
                ready = set(wait([process.connection for process in working]))
                for process in [one for one in working if one.connection in ready]:
                    unit = working.pop(process)
                    result = process.result()
                    if result is None:
                        tries[unit.number] = tries.get(unit.number, 0) + 1
                        if tries[unit.number] == TRIES:
                            raise InputError(
                                f"{unit}: ended its process {TRIES} times ({process.end()}); with too little memory, "
                                "use fewer --workers; otherwise a file of it is at fault: take it out of the archive"
                            )
                        process = self._start(job, process.index)
                        again.append(unit)
                    following = next(chain(iter(again[:1]), rest), None)
                    del again[:1]
                    if following is None:
                        process.stop()
                    else:
                        process.give(following)
                        working[process] = following
                    if result is not None:
                        yield result
        finally:
            for process in working:
                process.stop(at_once=True)

    def _start(self, job: Job, index: int) -> "_Process":
        return _Process(job, index, index % self.gpus if self.gpus else None)


class _Process:
    """A process with a model, and the pipe to it."""

    def __init__(self, job: Job, index: int, gpu: int | None) -> None:
        self.index = index
        context = multiprocessing.get_context("spawn")  # a fork would take over threads' locks as they are
        self.connection, other = context.Pipe()
        self.process: BaseProcess = context.Process(target=_work, args=(other, job, gpu), daemon=True)
        self.process.start()
        other.close()  # or its end would not be seen here

    def give(self, unit: Unit) -> None:
        """Hand over a unit; a process that has just ended is noticed when its result is asked for."""
        with contextlib.suppress(OSError):
            self.connection.send(unit)

    def result(self) -> Result | None:
        """Return the result, None where the process has ended. Raises InputError where the process did."""
        try:
            found = self.connection.recv()
        except (EOFError, OSError):
            return None
        if isinstance(found, InputError):
            raise found
        assert isinstance(found, Result)
        return found

    def end(self) -> str:
        """Return how the process ended."""
        self.process.join(5)
        code = self.process.exitcode
        return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"

    def stop(self, at_once: bool = False) -> None:
        """End the process."""
        self.connection.close()
        if at_once:
            self.process.kill()
        self.process.join()


def _work(connection: Connection, job: Job, gpu: int | None) -> None:
    """Work on what comes through the pipe until its other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(gpu)
    try:
        from detectors.archives.worker import Worker

        worker = Worker(job)
        while True:
            connection.send(worker(connection.recv()))
    except InputError as error:
        connection.send(error)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass
