"""How AP rises with the number of training radiographs (Ferguson et al. 2017, Fig. 5)."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from data.coco import write_coco
from data.console import console
from data.errors import InputError
from data.files import write_json
from data.tasks import Tasks
from detectors.config.experiment import ExperimentConfig
from detectors.config.files import describes
from detectors.config.sources import load_training_sources
from detectors.evaluation.metrics import FALSE_CALL_RATES, METRICS, Metrics, display, renamed
from detectors.evaluation.plots import COLORS, literal, quiet, save_figure
from detectors.evaluation.runs import read_object
from detectors.experiments.trainings import train_all

Train = Callable[[ExperimentConfig], tuple[Path, Metrics | None]]
CURVES = ("ap50", "ap30", "ap_center")  # the metrics that are drawn
KEPT = (*CURVES, *FALSE_CALL_RATES)  # and those of the JSON file


def learning_curve(
    config: ExperimentConfig, fractions: Sequence[float], out: Path, train: Train, tasks: Tasks | None = None
) -> list[dict[str, Any]]:
    """Train once with each fraction of the training radiographs, and return one record a fraction.

    Every smaller set lies within the larger ones, chosen by the configuration's seed. All runs draw as many samples
    an epoch as the whole set gives, so that they take the same number of steps and differ in data alone. Writes
    `learning_curve.json` and `learning_curve.png` into `out` after each run; called again, it goes on after the
    fractions that are there. With `tasks` the trainings are given to that engine, all at once.

    Raises InputError for a fraction outside (0, 1], for a configuration without test or validation data, and where
    `out` holds the curve of another configuration.
    """
    for fraction in fractions:
        if not 0 < fraction <= 1:
            raise InputError(f"fraction {fraction}: must be above 0 and at most 1, such as 0.25")
    if config.data.test is None and config.data.val is None:
        raise InputError(
            "the configuration has neither data.test nor data.val; a learning curve needs one to evaluate on"
        )
    samples = config.train.samples_per_epoch or _count(config)
    path = out / "learning_curve.json"
    points = _finished(path, config)
    known = {point["fraction"] for point in points}
    parts: dict[str, dict[str, Any]] = {}

    def smaller_configs() -> Iterator[ExperimentConfig]:
        for fraction in sorted(set(fractions) - known):
            smaller, images, objects = fraction_of(config, fraction, out, samples)
            console.print(f"fraction {fraction:g}: {images} radiographs, {objects} objects")
            parts[smaller.name] = {"fraction": fraction, "images": images, "objects": objects}
            yield smaller

    if tasks is None:
        done: Iterator[Any] = ((smaller.name, train(smaller)) for smaller in smaller_configs())
    else:
        done = train_all({smaller.name: smaller for smaller in smaller_configs()}, train, tasks, out / "logs")
    for name, (run, metrics) in done:
        reached = {key: (metrics or {}).get(key) for key in KEPT}
        points.append({**parts[name], "run": str(run), **reached})
        points.sort(key=lambda point: point["fraction"])
        write_json(path, {"config": config.as_dict(), "points": points}, indent=2)
        plot_learning_curve(points, out / "learning_curve.png", config.name)
    return points


def fraction_of(
    config: ExperimentConfig, fraction: float, out: Path, samples: int
) -> tuple[ExperimentConfig, int, int]:
    """Return the configuration with a fraction of each source's radiographs, and its images and objects.

    The parts are written as COCO files under `out`; at least one radiograph of each source is kept, and one with
    objects if there is one.
    """
    sources, images, objects = [], 0, 0
    loaded, _ = load_training_sources(config.data.train)
    for number, (source, (dataset, folder)) in enumerate(zip(config.data.train, loaded, strict=True)):
        order = np.random.default_rng((config.seed, number)).permutation(len(dataset.images))
        ids = [dataset.images[place]["id"] for place in order]
        defective = {annotation["image_id"] for annotation in dataset.annotations}
        # The first radiograph shows a defect, so that no part is without any.
        ids.sort(key=lambda identity: identity != next((i for i in ids if i in defective), None))
        part = dataset.subset(ids[: max(1, math.ceil(fraction * len(ids) - 1e-9))])
        path = out / "parts" / f"train{number}_{fraction:g}.json"
        write_coco(path, part)
        # The padding of annotated boxes is in those of the part already; simulated ones get theirs when they are drawn.
        padding = source.box_padding if source.simulate is not None else 0.0
        sources.append(source.replaced_by(path, folder).model_copy(update={"box_padding": padding}))
        images, objects = images + len(part.images), objects + len(part.annotations)
    data = config.data.model_copy(update={"train": sources})
    training = config.train.model_copy(update={"samples_per_epoch": samples})
    name = f"{config.name}-{fraction:g}"
    return config.model_copy(update={"data": data, "train": training, "name": name}), images, objects


def _count(config: ExperimentConfig) -> int:
    """Return how many samples an epoch of the whole training set draws."""
    total = 0
    loaded, _ = load_training_sources(config.data.train)
    for source, (dataset, _) in zip(config.data.train, loaded, strict=True):
        defective = {annotation["image_id"] for annotation in dataset.annotations}
        total += source.repeat * (len(dataset.images) if source.keep_negatives else len(defective))
    return total


def _finished(path: Path, config: ExperimentConfig) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    content = read_object(path)
    if not describes(content.get("config"), config):
        raise InputError(f"{path}: is the curve of another configuration; choose another --out")
    points = content.get("points")
    if not isinstance(points, list) or not all(
        isinstance(p, dict) and {"fraction", "images", "objects"} <= p.keys() for p in points
    ):
        raise InputError(f"{path}: no list of points with fraction, images and objects; choose another --out")
    return [dict.fromkeys(KEPT) | renamed(point) for point in points]


def plot_learning_curve(points: Sequence[dict[str, Any]], path: str | Path, name: str) -> None:
    """Draw AP at IoU 0.5 and 0.3 and by center point against the number of training radiographs."""
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    axes = figure.add_subplot()
    for color, name_of_metric in zip(COLORS, CURVES, strict=False):
        shown = [point for point in points if point[name_of_metric] is not None]
        images, values = [point["images"] for point in shown], [point[name_of_metric] for point in shown]
        axes.plot(images, values, "o-", color=color, linewidth=2, label=METRICS[name_of_metric].title)
        if shown and name_of_metric == "ap50":
            axes.annotate(display(values[-1]), (images[-1], values[-1]), xytext=(0, -14), textcoords="offset points",
                          ha="center", fontsize=9, color=color)  # fmt: skip
    axes.set(xlabel="training radiographs", ylabel="average precision", ylim=(0, 1), title=literal(name))
    axes.set_xlim(left=0)
    quiet(axes)
    axes.legend(loc="lower right", frameon=False)
    save_figure(figure, path)
