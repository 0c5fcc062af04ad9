#!/usr/bin/env python3
"""Train CenterNet on phantoms in several forms and test each on parts never seen: which choice carries how far.

    python benchmarks/unseen_ablation.py --out OUT Castings/C0008 Castings/C0010 ... Castings/C0001:59-72

The last series is the quiet regime and stands apart, the others are pooled. All forms see the same phantoms, which
are stored once. A form that is done is not trained again.
"""

from pathlib import Path

import click

from data.files import write_text
from detectors import read_config, train
from detectors.experiments.generalization import evaluate_series, parse_series

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


@click.command()
@click.argument("folders", metavar="SERIES...", nargs=-1, required=True)
@click.option("--samples", type=click.IntRange(100), default=10_000, show_default=True, help="Of each training.")
@click.option("--phantoms", type=click.IntRange(10), default=3_000, show_default=True, help="Stored ones.")
@click.option("--forms", "chosen", multiple=True, type=click.Choice(list(FORMS)), help="By default all.")
@click.option("--out", type=click.Path(path_type=Path), required=True)
def main(folders: tuple[str, ...], samples: int, phantoms: int, chosen: tuple[str, ...], out: Path) -> None:
    """Train every form, test it, and write the table of all."""
    series = [parse_series(text) for text in folders]
    rows = []
    for number, form in enumerate(FORMS):
        if chosen and form not in chosen:
            continue
        config = read_config(
            "casting",
            [
                f"output={out}",
                f"name=form{number}",
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
        done = sorted((out / f"form{number}").glob("*/metrics.json"))
        run = done[-1].parent if done else train(config)[0]
        runs = {part.name: run for part in series}
        pooled = evaluate_series(runs, series[:-1], "unseen", run / "others", 200)
        quiet = evaluate_series(runs, series[-1:], "unseen", run / "quiet", 200).pooled
        cells = [
            f"{pooled.pooled[name]:.3f} ({pooled.mean[name]:.3f})" for name in ("sensitivity_at_1_call", "ap_center")
        ]
        rows.append(f"| {form} | {' | '.join(cells)} | {quiet['ap30']:.3f} |")
        head = "| form | s@1 | AP center | quiet series, AP at IoU 0.3 |\n|---|---|---|---|\n"
        write_text(out / "ablation.md", head + "\n".join(rows) + "\n")
        click.echo(rows[-1])


if __name__ == "__main__":
    main()
