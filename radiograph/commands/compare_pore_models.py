"""Compare autoencoders and networks on parts with pores, in folds over parts, as Iuso et al. (2024) do."""

from collections.abc import Sequence
from pathlib import Path

import click

from data.console import console
from radiograph.command import PATH, Command, cfg_option, set_option


def parse_names(text: str, known: Sequence[str], option: str) -> tuple[str, ...]:
    """Return the names of a comma-separated list; "none" is an empty one. Raises InputError for an unknown one."""
    from data.errors import InputError

    names = [] if text == "none" else [part.strip() for part in text.split(",")]
    for name in names:
        if name not in known or names.count(name) > 1:
            raise InputError(f"{option} {text!r}: {name!r}; give some of {', '.join(known)}, each once, or none")
    return tuple(name for name in known if name in names)


@click.command(cls=Command)
@cfg_option(default="am_small_unet")
@set_option()
@click.option("--autoencoder", default="am_small_vae", metavar="CONFIG", help="Trains the autoencoders.")
@click.option("--models", default="vae,ce_vae,gm_vae,vq_vae,rv_vae", help="Autoencoders, separated by commas.")
@click.option("--nets", default="unet", help="Networks: some of mss, unet, plus_plus, three_plus, acc; or none.")
@click.option("--labels", default="otsu,otsu_fixed,self,truth", help="What networks learn from, separated by commas.")
@click.option("--labeler", default="ce_vae", help="The autoencoder whose post-processed map becomes self-labels.")
@click.option("--threshold", type=click.FloatRange(0, 1), default=0.3, help="Score of a pore voxel in self-labels.")
@click.option("--folds", type=click.IntRange(1), default=5, help="Parts that are validated on in turn.")
@click.option("--seeds", type=click.IntRange(1), default=1, help="How often everything is trained anew.")
@click.option("--extremes", is_flag=True, help="Scan the hard part with fewer projections and less exposure, too.")
@click.option("--dry-run", is_flag=True, help="Say what it would cost, here and at the published size; train nothing.")
@click.option("--out", type=PATH, default=Path("pore_models"), help="Folder for runs, labels and the report.")
def main(
    cfg: str,
    overrides: tuple[str, ...],
    autoencoder: str,
    models: str,
    nets: str,
    labels: str,
    labeler: str,
    threshold: float,
    folds: int,
    seeds: int,
    extremes: bool,
    dry_run: bool,
    out: Path,
) -> None:
    """Compare ways to find pores, in folds over parts.

    Each fold trains on all parts of data.train but one: autoencoders without labels; networks on Otsu's labels, on
    those of an autoencoder, and on the truth. All are tested on the part left out and on data.test, the hard one.
    Writes report.html with the tables of the paper; called again, it goes on where it was.
    """
    from datetime import timedelta

    from rich.table import Table

    from detectors.config.files import read_config
    from detectors.experiments.pore_model_cost import costs, planned_seconds
    from detectors.experiments.pore_model_extremes import check_extremes, extreme_test
    from detectors.experiments.pore_model_page import cost_tables, write_comparison
    from detectors.experiments.pore_model_plan import AUTOENCODERS, LABELS, NETS, Plan, check_plan, jobs_of
    from detectors.experiments.pore_models import compare_pore_models
    from detectors.training import train

    plan = Plan(
        read_config(cfg, overrides), read_config(autoencoder, ()), parse_names(models, list(AUTOENCODERS), "--models"),
        parse_names(nets, list(NETS), "--nets"), parse_names(labels, list(LABELS), "--labels"), labeler, folds, seeds,
        threshold,
    )  # fmt: skip
    check_plan(plan)
    if extremes:
        check_extremes(plan)
    found = costs(plan)
    if dry_run:
        shown = cost_tables(found, plan)
    else:
        records = compare_pore_models(plan, out, train)
        scans = extreme_test(plan, out) if extremes else []
        page, shown = write_comparison(plan, records, found, scans, out)
    for table in shown:
        printed = Table(*table.header, title=table.title)
        for row in table.rows:
            printed.add_row(*row)
        console.print(printed)
    if dry_run:
        seconds = round(planned_seconds(found, plan))
        console.print(f"{len(jobs_of(plan))} trainings here: about {timedelta(seconds=seconds)} of this machine")
    else:
        console.print(f"wrote {page}", markup=False)
