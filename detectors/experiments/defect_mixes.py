"""How far simulated defects carry a patch classifier: mixes of ellipsoids and GAN samples (Mery 2020, 3.3).

`ExGy` is a training set whose defects are x % ellipsoidal and y % out of a GAN; its no-defect patches come from the
same radiographs. Every model is evaluated on whole radiographs with real defects: Table 4 and Fig. 9 for any data.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from data.coco import CocoDataset, read_results, write_coco
from data.console import console
from data.errors import InputError
from data.files import write_json, write_text
from data.series import series_of
from data.tasks import Tasks
from detectors.backbones.weights import read_checkpoint
from detectors.config.experiment import SourceConfig
from detectors.config.files import describes
from detectors.config.sources import load_source, load_training_source
from detectors.evaluation.curves import precision_recall
from detectors.evaluation.metrics import FALSE_CALL_RATES, METRICS, display
from detectors.evaluation.plots import plot_precision_recall
from detectors.evaluation.runs import read_metrics, read_object, read_run, write_evaluation
from detectors.evaluation.table import markdown_table
from detectors.experiments.defect_mix_data import DefectMix, Experiment, finished_run, mix_config
from detectors.experiments.trainings import train_all

MIXES = "100/0,75/25,50/50,25/75,0/100"
COLUMNS = {
    "validation_accuracy": "validation accuracy",
    **{key: METRICS[key].title for key in ("ap50", "ap30", "ap_center", *FALSE_CALL_RATES, "recall50", "f1_max")},
}
SERIES = DefectMix(100, 0)  # what the models of one series are trained on
SERIES_FOLDER = f"{SERIES.name}-series"


def compare_defect_mixes(
    experiment: Experiment, mixes: Sequence[DefectMix], per_series: bool = False, tasks: Tasks | None = None
) -> list[dict[str, Any]]:
    """Train and evaluate one model for each mix, and write the results (`write_table`) into `experiment.out`.

    With `per_series` also E100G000*: a model for each series of the test radiographs, trained on the training
    radiographs of that series with its part of the patches, by their number; the detections of all are pooled. Models
    that are done are not trained again, one that was interrupted goes on.

    Returns one record a model. Raises InputError for bad data, a series that cannot be trained, and where
    `experiment.out` holds another experiment.
    """
    _claim(experiment)
    series = split_series(experiment) if per_series else {}
    rows: list[dict[str, Any]] = []
    if tasks is not None:
        _train_at_once(experiment, mixes, series, tasks)
    for mix in mixes:
        console.print(f"{mix.name}: {mix.ellipsoidal} % ellipsoidal and {mix.gan} % GAN defects")
        run = finished_run(mix_config(experiment, mix))
        rows.append(_record(mix.name, mix, run, _validation_accuracy(run)))
        write_table(rows, experiment.out)
    if per_series:
        rows.insert(0, _run_series(experiment, series))
        write_table(rows, experiment.out)
    return rows


def _train_at_once(
    experiment: Experiment, mixes: Sequence[DefectMix], series: Mapping[str, Experiment], tasks: Tasks
) -> None:
    """Have all models trained that are not; what comes after finds their runs."""
    configs = {mix.name: mix_config(experiment, mix) for mix in mixes}
    configs |= {part.out.name: mix_config(part, SERIES) for part in series.values()}
    for _ in train_all(configs, finished_run, tasks, experiment.out / "logs"):
        pass


def split_series(experiment: Experiment) -> dict[str, Experiment]:
    """Return an experiment for each series of the test radiographs, having written its COCO files.

    Raises InputError for a series without training radiographs.
    """
    trained, train_images = load_training_source(experiment.source)
    test, test_images = load_source(experiment.test)
    known, config = _by_series(trained), experiment.config
    found = {}
    for name, ids in _by_series(test).items():
        if name not in known:
            raise InputError(
                f"{test.path}: series {name} has no radiograph in {trained.path}; leave it out of the test, or "
                "do without --per-series"
            )
        folder = experiment.out / SERIES_FOLDER / name.replace("/", "-")
        write_coco(folder / "train.json", trained.subset(known[name]))
        write_coco(folder / "test.json", test.subset(ids))
        sources = {
            "train": [experiment.source.replaced_by(folder / "train.json", train_images)],
            "test": SourceConfig(json=str(folder / "test.json"), images=str(test_images)),
        }
        samples = (config.train.samples_per_epoch or 0) * len(known[name]) / len(trained.images)
        training = config.train.model_copy(update={"samples_per_epoch": 2 * max(round(samples / 2), 1)})
        data = config.data.model_copy(update=sources)
        found[name] = replace(
            experiment, config=config.model_copy(update={"data": data, "train": training}), out=folder
        )
    return found


def _by_series(dataset: CocoDataset) -> dict[str, list[int]]:
    """Return the image ids of each series."""
    found: dict[str, list[int]] = {}
    for image in dataset.images:
        found.setdefault(series_of(image), []).append(image["id"])
    return found


def _run_series(experiment: Experiment, series: dict[str, Experiment]) -> dict[str, Any]:
    """Train and evaluate a model for each series; pool their detections and return their record."""
    results, runs = [], []
    for name, part in series.items():
        console.print(f"{SERIES.name}*: series {name}")
        runs.append(finished_run(mix_config(part, SERIES)))
        results += read_results(runs[-1] / "detections.json")
    dataset, images = load_source(experiment.test)
    folder = experiment.out / SERIES_FOLDER
    seconds = float(np.mean([read_metrics(run).get("seconds_per_image") or 0.0 for run in runs]))
    write_evaluation(folder, dataset, results, images, seconds, f"{SERIES.name}*")
    return _record(f"{SERIES.name}*", SERIES, folder, float(np.mean([_validation_accuracy(run) for run in runs])))


def _record(name: str, mix: DefectMix, run: Path, accuracy: float) -> dict[str, Any]:
    """Return what is known of one model, or of those of all series."""
    return {"name": name, **mix._asdict(), "run": str(run), "validation_accuracy": accuracy, **read_metrics(run)}


def _validation_accuracy(run: Path) -> float:
    """Return the accuracy of a run's best weights on its validation patches."""
    return read_checkpoint(run / "best.ckpt")["metrics"]["accuracy"]


def results_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the records as a Markdown table, the paper's Table 4."""
    header = ["training set", "ellipsoidal", "GAN", *COLUMNS.values()]
    body = [
        [row["name"], f"{row['ellipsoidal']} %", f"{row['gan']} %", *(display(row[key]) for key in COLUMNS)]
        for row in rows
    ]
    return markdown_table(header, body)


def write_table(rows: Sequence[dict[str, Any]], out: Path) -> None:
    """Write table.md, precision_recall_50.png (Fig. 9) and precision_recall_30.png, and metrics.json of the records."""
    write_text(out / "table.md", results_table(rows))
    runs = {row["name"]: read_run(row["run"]) for row in rows}
    for percent in (50, 30):
        curves = {name: precision_recall(run.overlaps.match(percent / 100)) for name, run in runs.items()}
        title = f"Precision and recall at IoU {percent / 100:g}"
        plot_precision_recall(curves, out / f"precision_recall_{percent}.png", title)
    write_json(out / "metrics.json", {"models": list(rows)}, indent=2)


def _claim(experiment: Experiment) -> None:
    """Note what the folder holds. Raises InputError where it holds another experiment."""
    path = experiment.out / "experiment.json"
    gan = None if experiment.gan is None else str(experiment.gan.resolve())
    settings = {"gan": gan, "gan_epochs": experiment.gan_epochs}
    if path.is_file():
        before = read_object(path)
        same = describes(before.pop("config", None), experiment.config) and before == settings
        if not same:
            raise InputError(f"{path}: is of another experiment; choose another --out, or the settings of that one")
    write_json(path, {"config": experiment.config.as_dict(), **settings}, indent=2)
