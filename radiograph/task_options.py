"""The options of commands whose work is many independent tasks: how many at once, and on which machines."""

from typing import TYPE_CHECKING, Any

import click

from radiograph.command import Decorator

if TYPE_CHECKING:
    from data.tasks import Tasks


def cluster_option(what: str) -> Decorator:
    """Return the decorator that gives a command `--cluster` as `cluster: str | None`; `what` works on it."""
    return click.option(
        "--cluster",
        metavar="auto|local|ADDRESS",
        help=f"{what} on a Ray cluster; auto finds one, or starts one here as local does. Folders must be shared.",
    )


def training_options(function: Any) -> Any:
    """Add `--workers` as `workers: int` and `--cluster` as `cluster: str | None`: trainings at the same time."""
    workers = click.option(
        "--workers",
        type=click.IntRange(1),
        metavar="N",
        help="Trainings at once, in processes that share the cores; one after the other by default, on a cluster one "
        "a GPU or core.",
    )
    return workers(cluster_option("Train")(function))


def training_tasks(workers: int | None, cluster: str | None) -> "Tasks | None":
    """Return the engine that `training_options` asks for, None for one training after the other.

    Raises ModuleNotFoundError where Ray is wanted and not installed.
    """
    if cluster is not None:
        from detectors.archives.tasks import RayTasks

        return RayTasks(cluster, workers, gpus=True)
    if workers is None or workers == 1:
        return None
    from data.tasks import ProcessTasks
    from detectors.experiments.trainings import share_threads

    share_threads(workers)
    return ProcessTasks(workers)


def shard_tasks(workers: int | None, cluster: str | None) -> "Tasks":
    """Return the engine that writes shards: processes, one a core by default, or a cluster.

    Raises ModuleNotFoundError where Ray is wanted and not installed.
    """
    if cluster is not None:
        from detectors.archives.tasks import RayTasks

        return RayTasks(cluster, workers)
    from data.tasks import ProcessTasks

    return ProcessTasks(workers)
