"""Independent tasks on a Ray cluster: the engine `data.tasks.Tasks` for many machines."""

import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from data.errors import InputError
from detectors.archives.cluster import ADVICE, first_line, no_answer, start_ray

WINDOW = 4  # tasks a worker that Ray holds at once
TRIES = 5  # of a task whose machine is lost


class RayTasks:
    """An engine of the tasks of a Ray cluster; files that tasks read or write lie at the same path on every machine.

    Args:
        address: see `detectors.archives.cluster.RayCluster`.
        workers: tasks at once; by default one a core.
        gpus: whether each task takes a GPU, where the cluster has any.

    Raises ModuleNotFoundError where Ray is not installed.

    """

    def __init__(self, address: str, workers: int | None = None, gpus: bool = False) -> None:
        if importlib.util.find_spec("ray") is None:
            raise ModuleNotFoundError("No module named 'ray'", name="ray")
        self.address, self.workers, self.gpus = address, workers, gpus

    def __call__(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        """Yield the results as they come; see `data.tasks.Tasks`. Raises InputError where the cluster is lost."""
        if not items:
            return
        try:
            start_ray(self.address, self.workers)
        except Exception as error:  # Ray's are of many kinds
            raise no_answer(self.address, first_line(error)) from error
        import ray

        try:
            yield from self._results(function, items)
        except ray.exceptions.RayTaskError as error:
            raise error.cause if isinstance(error.cause, Exception) else error from None
        except ray.exceptions.RayError as error:
            raise InputError(f"the cluster failed ({first_line(error)}); {ADVICE}") from error
        finally:
            ray.shutdown()

    def _results(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        import ray

        resources = ray.cluster_resources()
        cores, gpus = int(resources.get("CPU", 1)), int(resources.get("GPU", 0)) if self.gpus else 0
        at_once = min(self.workers or gpus or cores, len(items))
        options = {"num_cpus": max(cores // at_once, 1), "num_gpus": 1 if gpus else 0, "max_retries": TRIES}
        remote = ray.remote(_in_folder).options(**options)
        rest = iter(items)
        running = [remote.remote(os.getcwd(), function, item) for item in islice(rest, WINDOW * at_once)]
        while running:
            done, running = ray.wait(running, num_returns=1)
            running += [remote.remote(os.getcwd(), function, item) for item in islice(rest, 1)]
            yield ray.get(done[0])


def _in_folder(folder: str, function: Callable[[Any], Any], item: Any) -> Any:
    """Return what a function returns for an item in the folder that the command was given in."""
    os.chdir(folder)
    return function(item)
