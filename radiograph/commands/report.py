"""Write one page about evaluated runs that opens offline."""

from pathlib import Path

import click

from data.console import console
from radiograph.command import PATH, Command, max_pixels_option, renamed_option, run_option


@click.command(cls=Command)
@run_option("Folder of an evaluated run, or of an evaluation.", multiple=True)
@click.option("--out", default="report.html", type=PATH, help="Page to write.")
@click.option("--title", default="Detector report")
@renamed_option(
    "--errors",
    "--faults",
    type=click.IntRange(0),
    default=40,
    help="Misses, and as many false calls, to show for each run.",
)
@click.option("--resamples", type=click.IntRange(1), default=300, help="Bootstrap resamples.")
@max_pixels_option
def main(runs: tuple[Path, ...], out: Path, title: str, errors: int, resamples: int) -> None:
    """Write one self-contained page about evaluated runs."""
    from detectors.evaluation.report import write_report
    from detectors.evaluation.runs import name_runs, read_run
    from detectors.qualification.overrides import override_rows

    named = name_runs([read_run(run) for run in runs])
    decided = {name: list(override_rows(run.folder)) for name, run in named.items()}
    path = write_report(named, out, title, errors, resamples, decided)
    console.print(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")
