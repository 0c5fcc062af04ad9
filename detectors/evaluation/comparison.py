"""Accuracy beside speed for several runs: the paper's Table III for whatever data they were evaluated on."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from matplotlib.figure import Figure

from data.annotation_check import is_number
from data.errors import InputError
from data.files import write_json, write_text
from detectors.evaluation.metrics import FALSE_CALL_RATES, METRICS, display
from detectors.evaluation.plots import COLORS, literal, quiet, save_figure
from detectors.evaluation.runs import read_metrics, read_object
from detectors.evaluation.table import markdown_table

# Metrics in the order of the table; those that no run has are left out.
SHOWN = (
    "ap50", "ap30", "ap_center", *FALSE_CALL_RATES, "recall50", "f1_max", "false_calls_per_image", "pixel_f1",
    "pixel_iou", "accuracy", "roc_auc",
)  # fmt: skip
ACCURACIES = {key: METRICS[key].title for key in SHOWN}
SPEEDS = {
    "cpu_seconds": "CPU s/image",
    "cuda_seconds": "GPU s/image",
    "seconds_per_image": METRICS["seconds_per_image"].title,
}


def read_benchmark(path: str | Path) -> list[dict[str, Any]]:
    """Return the records of a benchmark file, one a method and device (`detectors.experiments.benchmark.measure`).

    Raises InputError for a file that is missing or something else.
    """
    records = read_object(Path(path)).get("records") if Path(path).is_file() else None
    if not isinstance(records, list) or not all(map(_is_benchmark, records)):
        raise InputError(f"{path}: no benchmark; make one with radiograph benchmark --cfg NAME --out FOLDER")
    return records


def _is_benchmark(record: Any) -> bool:
    if not isinstance(record, dict) or not isinstance(record.get("seconds"), dict):
        return False
    numbers = [record.get(key) for key in ("parameters", "multiply_adds", "peak_memory")]
    return (
        isinstance(record.get("method"), str)
        and record.get("device") in ("cpu", "cuda")
        and isinstance(record.get("run"), str | None)
        and all(map(is_number, [*numbers, record["seconds"].get("median")]))
    )


def compare_runs(folders: Sequence[str | Path], benchmark: Sequence[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    """Return one record a run: its name, `metrics.json`, and the benchmark's speed and size; None is n/a.

    A run takes the benchmark's metrics of its own folder, or else of the configuration of its name. Runs of one
    name get their folder's name, too. Raises InputError for a folder without metrics.
    """
    names = [_run_name(Path(folder)) for folder in folders]
    rows = []
    for folder, name in zip(map(Path, folders), names, strict=True):
        shown = f"{name} {folder.name}" if names.count(name) > 1 else name
        metrics = read_metrics(folder)
        rows.append({"run": shown, "folder": str(folder), **metrics, **_speed(folder, name, benchmark)})
    return rows


def _run_name(folder: Path) -> str:
    """Return the name of a run's configuration."""
    if not (folder / "metrics.json").is_file():
        raise InputError(f"{folder}: no metrics.json; evaluate the run first: radiograph evaluate --run {folder}")
    path = folder / "config.yaml"
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (yaml.YAMLError, ValueError, OSError, RecursionError) as error:  # YAML's dates raise ValueError
        raise InputError(f"{path}: not readable as YAML; copy the run anew") from error
    name = config.get("name") if isinstance(config, dict) else None
    return name if isinstance(name, str) and name else folder.name


def _speed(folder: Path, name: str, benchmark: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    own = [r for r in benchmark if r.get("run") and Path(r["run"]).resolve() == folder.resolve()]
    found = own or [r for r in benchmark if not r.get("run") and r["method"] == name]
    speed: dict[str, Any] = {"cpu_seconds": None, "cuda_seconds": None}
    for record in found:
        speed[f"{record['device']}_seconds"] = record["seconds"]["median"]
    first: Mapping[str, Any] = found[0] if found else {}
    return speed | {key: first.get(key) for key in ("parameters", "multiply_adds")}


def comparison_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the records of `compare_runs` as a Markdown table, "n/a" for what a run has not."""
    columns = {key: title for key, title in (SPEEDS | ACCURACIES).items() if any(r.get(key) is not None for r in rows)}
    sizes = {"parameters": ("million parameters", 1e6), "multiply_adds": ("billion multiply-adds", 1e9)}
    shown = {key: value for key, value in sizes.items() if any(row[key] is not None for row in rows)}
    header = ["method", *columns.values(), *(title for title, _ in shown.values()), "evaluated on"]
    body = [
        [
            row["run"],
            *(display(row.get(key)) for key in columns),
            *(display(None if row[key] is None else row[key] / unit, 2) for key, (_, unit) in shown.items()),
            _evaluated_on(row),
        ]
        for row in rows
    ]
    return markdown_table(header, body)


def _evaluated_on(row: Mapping[str, Any]) -> str:
    return f"{display(row.get('images'))} images, {display(row.get('objects'))} objects"


def write_comparison(rows: Sequence[Mapping[str, Any]], out: str | Path) -> str:
    """Write `comparison.json`, `comparison.md` and `speed_accuracy.png` into `out`; return the Markdown."""
    out = Path(out)
    text = comparison_table(rows)
    if len({(row.get("images"), row.get("objects")) for row in rows}) > 1:
        text += "\nThese runs were evaluated on different radiographs: their accuracies do not compare.\n"
    write_json(out / "comparison.json", {"runs": list(rows)}, indent=2)
    write_text(out / "comparison.md", text)
    plot_speed_accuracy(rows, out / "speed_accuracy.png")
    return text


def plot_speed_accuracy(rows: Sequence[Mapping[str, Any]], path: str | Path, figure_name: str = "ap50") -> None:
    """Draw accuracy against seconds an image on a logarithmic axis, one labeled point a run.

    The time is the first of CPU, GPU and evaluation that the most runs have; a run without time or accuracy is
    left out.
    """
    shown = [row for row in rows if row.get(figure_name) is not None]
    clock = max(SPEEDS, key=lambda key: sum(row.get(key) is not None for row in shown))
    points = [(row["run"], row[clock], row[figure_name]) for row in shown if row.get(clock)]
    figure = Figure(figsize=(6.8, 4.8), layout="constrained")
    axes = figure.add_subplot()
    for number, (name, seconds, accuracy) in enumerate(points):
        color = COLORS[number % len(COLORS)]
        axes.plot(seconds, accuracy, "o", color=color, markersize=8)
        # Half of the labels stand below their point, so that neighbors of one accuracy stay readable.
        above = number % 2 == 0
        axes.annotate(literal(name), (seconds, accuracy), xytext=(0, 8 if above else -8), textcoords="offset points",
                      ha="center", va="bottom" if above else "top", fontsize=9, color=color)  # fmt: skip
    if points:
        axes.set_xscale("log")
        times = [seconds for _, seconds, _ in points]
        axes.set_xlim(min(times) / 2, max(times) * 2)
    else:
        axes.text(0.5, 0.5, "no run has both a time and an accuracy", transform=axes.transAxes, ha="center")
    axes.set(ylim=(0, 1.05), xlabel=f"{SPEEDS[clock]} (left is faster)", ylabel=ACCURACIES[figure_name])
    quiet(axes)
    save_figure(figure, path)
