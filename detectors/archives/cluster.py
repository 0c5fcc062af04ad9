"""The engine of a cluster: Ray, with models as actors, one on each core or GPU.

Ray's driver is a process of its own: what happens to Ray cannot end this one, which alone writes the results.
"""

import contextlib
import importlib.util
import multiprocessing
import os
import pickle
import queue
import signal
import socket
import sys
import threading
from collections import Counter, deque
from collections.abc import Iterator
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from data.errors import InputError
from detectors.archives.job import Job, Result, Unit
from detectors.runtime.folder import is_exported

WINDOW = 500  # units that the driver holds at once: 250,000 radiographs of parts of 500, whose names take some 20 MB
AHEAD = 2  # units that an actor has, so that it need not wait for the next one
OBJECT_STORE = 200 * 2**20  # bytes, of a cluster that is started here; units and results are small
TRIES = 20  # of a unit whose actor ends, and at least of actors that end one after the other before their first unit
GRACE = 10.0  # seconds in which Ray may end by itself
KNOCK = 5.0  # seconds in which a cluster must answer
HEAD_TIMEOUT = 10  # seconds after which a node gives up on a head that is gone; Ray waits 60
ADVICE = "the parts that are written stay: give the same command again to go on"


class RayCluster:
    """An engine of the actors of a Ray cluster.

    Args:
        address: of a running cluster, such as 10.0.0.1:6379; `auto` for the one that RAY_ADDRESS names or that runs on
            this machine, or else one that is started here and ends with the work; `local` for such a one in any case.
        workers: actors; by default one on each GPU, or each core where there are none or the model is exported.
        log: the file that Ray's own messages go to.

    Raises InputError where Ray is not installed.

    """

    def __init__(self, address: str, workers: int | None, log: Path) -> None:
        if importlib.util.find_spec("ray") is None:
            raise ModuleNotFoundError("No module named 'ray'", name="ray")
        self.address, self.workers, self.log = address, workers, log

    def __call__(self, job: Job, units: Iterator[Unit]) -> Iterator[Result]:
        """Yield the results of all units in any order; see `Engine`."""
        context = multiprocessing.get_context("spawn")
        connection, other = context.Pipe()
        arguments = (other, job, self.address, self.workers, str(self.log))
        driver = context.Process(target=_drive, args=arguments)
        driver.start()
        other.close()
        connected = False
        try:
            _send(connection, None)  # so that the driver knows of this end before it listens
            connected = _receive(connection) is None
            first = [*islice(units, WINDOW)]
            _send(connection, first)
            waiting = len(first)
            while waiting:
                result = _receive(connection)
                following = [*islice(units, 1)]
                _send(connection, following)
                waiting += len(following) - 1
                yield result
            connection.close()  # Ray ends while the caller writes the rest; this process waits for it when it exits
            return
        except _DriverLost as error:
            driver.join(GRACE)
            if not connected:
                raise no_answer(self.address, f"see {self.log}") from error
            raise InputError(f"the cluster ended before the work was done (see {self.log}); {ADVICE}") from error
        finally:
            if not connection.closed:
                connection.close()
                driver.join(GRACE)
                if driver.is_alive():
                    driver.kill()
                    driver.join()


class Actor:
    """A model in a Ray actor."""

    def __init__(self, job: Job) -> None:
        from detectors.archives.worker import Worker

        self.fault: InputError | None = None
        try:
            self.worker = Worker(job)
        except InputError as error:  # raised here, Ray would start the actor again and again
            self.fault = error

    def begin(self) -> None:
        """Return as soon as the model is loaded."""

    def work(self, unit: bytes) -> bytes:
        """Return, pickled, what became of a pickled unit: a `Result`, or an `InputError` that ends the run."""
        return pickle.dumps(self._result(pickle.loads(unit)))

    def _result(self, unit: Unit) -> Result | InputError:
        if self.fault is not None:
            return self.fault
        try:
            return self.worker(unit)
        except InputError as error:
            return error


def _drive(connection: Connection, job: Job, address: str, workers: int | None, log: str) -> None:
    """Be Ray's driver until the other end of the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    with open(log, "ab", buffering=0) as stream:
        os.dup2(stream.fileno(), sys.stdout.fileno())
        os.dup2(stream.fileno(), sys.stderr.fileno())
    arriving = _Arriving(connection)
    try:
        try:
            start_ray(address, workers)
        except Exception as error:  # Ray's are of many kinds
            raise no_answer(address, first_line(error)) from error
        connection.send(None)
        for result in _results(job, arriving, workers):
            connection.send(result)
            if isinstance(result, InputError):
                return
    except InputError as error:
        connection.send(error)
    except (BrokenPipeError, ConnectionResetError):
        pass
    except Exception as error:
        print(error, file=sys.stderr, flush=True)
        connection.send(InputError(f"the cluster failed ({first_line(error)}; see {log}); {ADVICE}"))
    finally:
        import ray

        with contextlib.suppress(Exception):
            ray.shutdown()


class _Arriving:
    """The lists of units that come through a pipe. When its other end is closed this process ends."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.lists: queue.SimpleQueue[list[Unit]] = queue.SimpleQueue()
        connection.recv()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        """Take lists off the pipe; where who started this process is gone, nobody wants the rest."""
        while True:
            try:
                self.lists.put(self.connection.recv())
            except (EOFError, OSError):
                import ray

                _end_within(GRACE)
                with contextlib.suppress(BaseException):
                    ray.shutdown()
                os._exit(0)


def _end_within(seconds: float) -> None:
    """End this process after some seconds, whatever it waits for."""
    timer = threading.Timer(seconds, os._exit, (0,))
    timer.daemon = True
    timer.start()


def start_ray(address: str, workers: int | None) -> None:
    """Connect to a cluster, or start a small one of `workers` cores for the time of the work.

    `address` as for `RayCluster`. Raises what Ray raises, which is of many kinds.
    """
    os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", str(HEAD_TIMEOUT))
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address not in ("auto", "local"):
        _knock(address)
        ray.init(address=address, **quiet)
        return
    if address == "auto":
        try:
            ray.init(address=os.environ.get("RAY_ADDRESS") or "auto", **quiet)
        except ConnectionError:
            if os.environ.get("RAY_ADDRESS"):
                raise
        else:
            return
    cores = workers or len(os.sched_getaffinity(0))
    ray.init(address="local", num_cpus=cores, object_store_memory=OBJECT_STORE, include_dashboard=False, **quiet)


def _knock(address: str) -> None:
    """Raise OSError where nothing listens at an address: Ray would end its process, after half a minute."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK).close()


def no_answer(address: str, reason: str) -> InputError:
    """Return what is to be said of a cluster that cannot be used."""
    if address == "local":
        return InputError(f"no Ray cluster can be started on this machine ({reason}); leave --cluster out")
    return InputError(
        f"no Ray cluster answers at {address} ({reason}); start one with 'ray start --head', or give --cluster auto"
    )


class _DriverLost(Exception):  # noqa: N818  # it is no error of its own
    """The driver has ended."""


def _send(connection: Connection, value: Any) -> None:
    """Give the driver something. Raises _DriverLost."""
    try:
        connection.send(value)
    except OSError as error:
        raise _DriverLost from error


def _receive(connection: Connection) -> Any:
    """Return what comes from the driver. Raises InputError where it is one, and _DriverLost."""
    try:
        found = connection.recv()
    except (EOFError, OSError) as error:
        raise _DriverLost from error
    if isinstance(found, InputError):
        raise found
    return found


class _Crew:
    """Actors and the units that are theirs to do.

    An actor that dies, or its machine, is replaced as soon as there is room for another; others take over its units.
    """

    def __init__(self, job: Job, count: int, gpu: bool) -> None:
        import ray

        self.job, self.count = job, count
        self.remote: Any = ray.remote(Actor).options(num_cpus=0 if gpu else 1, num_gpus=1 if gpu else 0)
        self.units: deque[Unit] = deque()
        self.hired: set[Any] = set()
        self.idle: deque[Any] = deque()  # an actor as many times as it can take units
        self.running: dict[Any, tuple[Any, Unit | None]] = {}
        self.deaths: Counter[int | None] = Counter()  # by unit; None for those before the first

    def hand_out(self) -> None:
        """Give units to actors that have room for them."""
        while len(self.hired) < self.count:
            actor = self.remote.remote(self.job)
            self.hired.add(actor)
            self.running[actor.begin.remote()] = actor, None
        while self.idle and self.units:
            actor, unit = self.idle.popleft(), self.units.popleft()
            self.running[actor.work.remote(pickle.dumps(unit))] = actor, unit

    def next_result(self) -> Result | InputError | None:
        """Wait until an actor is done with something; return its result, None where it has just begun, or died.

        Raises InputError where a unit ends its actors again and again, or actors end before their first one.
        """
        import ray

        (done,), _ = ray.wait([*self.running], num_returns=1)
        actor, unit = self.running.pop(done)
        try:
            answer = ray.get(done)
        except ray.exceptions.RayTaskError:  # a fault of this code, which would come again
            raise
        except ray.exceptions.RayError as error:  # the actor is gone, or its result is, or memory ran out
            self._replace(actor, unit, error)
            return None
        if unit is None:
            self.deaths[None] = 0
        self.idle += [actor] * AHEAD if unit is None else [actor]
        return None if unit is None else _result(answer)

    def _replace(self, actor: Any, unit: Unit | None, error: Exception) -> None:
        import ray

        number = None if unit is None else unit.number
        self.deaths[number] += 1
        if self.deaths[number] == (max(TRIES, 2 * self.count) if unit is None else TRIES):
            what = "workers die as they begin" if unit is None else f"{unit}: the worker dies"
            raise InputError(f"{what}, {self.deaths[number]} times ({first_line(error)}); {ADVICE}") from error
        if unit is not None:
            self.units.appendleft(unit)
        self.idle = deque(other for other in self.idle if other is not actor)
        self.hired.discard(actor)
        ray.kill(actor)  # it may be out of reach alone, and would keep its core


def _results(job: Job, arriving: _Arriving, workers: int | None) -> Iterator[Result | InputError]:
    """Yield the results of all units, each as soon as it is there. Each result is answered by a list of further units.

    Raises InputError for units that cannot be done.
    """
    import ray

    first = arriving.lists.get()
    resources = ray.cluster_resources()
    gpus = 0 if is_exported(job.run) else int(resources.get("GPU", 0))
    crew = _Crew(job, min(workers or gpus or int(resources.get("CPU", 1)), len(first)), gpus > 0)
    crew.units += first
    while True:
        crew.hand_out()
        if crew.running:
            result = crew.next_result()
            if result is None:
                continue
            yield result
        crew.units += arriving.lists.get()  # after the last one for ever: this process ends when the pipe is closed


def _result(answer: bytes) -> Result | InputError:
    found: Result | InputError = pickle.loads(answer)
    return found


def first_line(error: Exception) -> str:
    """Return what an error says first, for a message of one line."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
