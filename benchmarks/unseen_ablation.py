#!/usr/bin/env python3
"""Train CenterNet on phantoms in several forms and test each on parts never seen: which choice carries how far.

    python benchmarks/unseen_ablation.py --out OUT Castings/C0008 Castings/C0010 ... Castings/C0001:59-72

The last series is the quiet regime and stands apart, the others are pooled. All forms see the same phantoms, which
are stored once. A form that is done is not trained again. With --workers or --cluster forms are trained at the same
time.
"""

from collections.abc import Mapping
from pathlib import Path

import click

from data.files import write_text
from data.tasks import Tasks
from detectors import read_config, train
from detectors.config.experiment import ExperimentConfig
from detectors.experiments.generalization import Series, evaluate_series, parse_series
from detectors.experiments.trainings import train_all
from radiograph.task_options import training_options, training_tasks

FORMS: dict[str, list[str]] = {
    "as recommended (both contrasts)": [],
    "input: gray": ["model.input_encoding=gray"],
    "input: local contrast": ["model.input_encoding=local_contrast"],
    "input: contrast over noise": ["model.input_encoding=noise_contrast"],
    "input: both and a line-blind channel": ["model.input_encoding=line_blind"],
    "group normalization": ["model.norm=group"],
    "width x 2/3": ["model.stem_channels=8", "model.stage_channels=[16,32,48,64]", "model.neck_channels=24"],
    "width x 4/3": ["model.stem_channels=24", "model.stage_channels=[32,64,96,128]", "model.neck_channels=40"],
    "crops of 160 px, as many pixels": ["data.augmentation.crop.size=160", "train.samples_per_epoch={2.56}"],
    "box loss x 1/4": ["model.box_weight=0.5"],
}
"""Every form's overrides of the recommended one; `{f}` stands for f times the samples of an epoch."""


def overrides(form: str, samples: int) -> list[str]:
    """Return a form's overrides with its numbers of samples filled in."""
    return [
        entry if "{" not in entry else f"{entry.split('=')[0]}={round(float(entry.split('{')[1][:-1]) * samples)}"
        for entry in FORMS[form]
    ]


def form_config(form: str, samples: int, phantoms: int, out: Path) -> ExperimentConfig:
    """Return the configuration of a form's training."""
    return read_config(
        "casting",
        [
            f"output={out}",
            f"name=form{[*FORMS].index(form)}",
            f"data.train.0.phantoms={{kind: varied_castings, n: {phantoms}, seed: 1, fresh: false, "
            f"twins: 0, folder: {out / 'phantoms'}}}",
            f"data.val.phantoms={{kind: varied_castings, n: 50, seed: 2, folder: {out / 'phantoms'}}}",
            "data.test=null",
            "data.cache=true",
            "train.epochs=1",
            f"train.samples_per_epoch={samples}",
            *overrides(form, samples),
        ],
    )


def train_forms(configs: Mapping[str, ExperimentConfig], out: Path, tasks: Tasks | None) -> None:
    """Train the forms that have not been trained."""
    missing = {name: config for name, config in configs.items() if finished(config) is None}
    if tasks is None:
        for config in missing.values():
            train(config)
    else:
        list(train_all(missing, train, tasks, out / "logs"))


def finished(config: ExperimentConfig) -> Path | None:
    """Return the folder of a configuration's last training that came to its end, None without one."""
    done = sorted((Path(config.output) / config.name).glob("*/metrics.json"))
    return done[-1].parent if done else None


def test_form(run: Path, series: list[Series]) -> str:
    """Return the figures of a form on all series but the last, and on that one, as cells of the table."""
    runs = {part.name: run for part in series}
    pooled = evaluate_series(runs, series[:-1], "unseen", run / "others", 200)
    quiet = evaluate_series(runs, series[-1:], "unseen", run / "quiet", 200).pooled
    names = ("sensitivity_at_1_call", "ap_center")
    cells = [f"{pooled.pooled[name]:.3f} ({pooled.mean[name]:.3f})" for name in names]
    return f"{' | '.join(cells)} | {quiet['ap30']:.3f}"


@click.command()
@click.argument("folders", metavar="SERIES...", nargs=-1, required=True)
@click.option("--samples", type=click.IntRange(100), default=10_000, show_default=True, help="Of each training.")
@click.option("--phantoms", type=click.IntRange(10), default=3_000, show_default=True, help="Stored ones.")
@click.option("--forms", "chosen", multiple=True, type=click.Choice(list(FORMS)), help="By default all.")
@click.option("--out", type=click.Path(path_type=Path), required=True)
@training_options
def main(
    folders: tuple[str, ...],
    samples: int,
    phantoms: int,
    chosen: tuple[str, ...],
    out: Path,
    workers: int | None,
    cluster: str | None,
) -> None:
    """Train every form, test it, and write the table of all."""
    series = [parse_series(text) for text in folders]
    out = out.resolve()  # for workers elsewhere
    configs = {form: form_config(form, samples, phantoms, out) for form in FORMS if not chosen or form in chosen}
    train_forms(configs, out, training_tasks(workers, cluster))
    rows = ["| form | s@1 | AP center | quiet series, AP at IoU 0.3 |", "|---|---|---|---|"]
    for form, config in configs.items():
        run = finished(config)
        assert run is not None
        rows.append(f"| {form} | {test_form(run, series)} |")
        write_text(out / "ablation.md", "\n".join(rows) + "\n")
        click.echo(rows[-1])


if __name__ == "__main__":
    main()
