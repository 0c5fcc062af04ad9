"""Accept or reject radiographs by rules that you write."""

from pathlib import Path

import click
from rich.table import Table

from data.console import console
from data.errors import InputError
from radiograph.command import PATH, Command, max_pixels_option

SHOWN = 20  # rows on the console


@click.command(cls=Command)
@click.option("--rules", type=PATH, metavar="FILE", help="Your acceptance rules, YAML.")
@click.option("--run", type=PATH, help="An evaluation of the same detector: how far its boxes are off.")
@click.option("--out", type=PATH, default=Path("acceptance"), help="Folder for the table, the page and pictures.")
@click.option("--pictures", type=click.IntRange(0), default=24, help="Most radiographs shown on the page.")
@click.option("--template", type=PATH, metavar="FILE", help="Write an empty, commented file of rules, and stop.")
@click.argument("predictions", required=False, type=PATH)
@max_pixels_option
def main(
    rules: Path | None, run: Path | None, out: Path, pictures: int, template: Path | None, predictions: Path | None
) -> None:
    """Accept or reject radiographs by your rules.

    PREDICTIONS is what radiograph predict wrote, or an evaluated run. Every radiograph is accepted, rejected or to be
    looked at again, with the rule, the indications and the numbers that decided.
    """
    if template is not None:
        from data.files import write_text
        from detectors.decisions.rules import template as template_text

        if template.exists():
            raise InputError(f"{template} exists; choose another name for the template")
        write_text(template, template_text())
        console.print(f"wrote {template}; fill in your limits")
        return
    if predictions is None or rules is None:
        raise click.UsageError("give PREDICTIONS and --rules FILE (radiograph accept --template FILE writes one)")
    from detectors.decisions.acceptance import accept, read_predictions, write_acceptance
    from detectors.decisions.acceptance_page import write_page
    from detectors.decisions.rules import check_names, read_rules
    from detectors.decisions.zones import read_zones

    wanted = read_rules(rules)
    found = read_predictions(predictions)
    drawn = None if wanted.zones is None else read_zones(wanted.zones, rules.parent)
    check_names(wanted, rules, sorted(found.names.values()), None if drawn is None else sorted(drawn.masks))
    made = accept(found, wanted, run, drawn.locate if drawn is not None and wanted.needs_zones else None)
    write_acceptance(made, out)
    write_page(made, out, pictures)
    table = Table("radiograph", "verdict", "why", title=wanted.name)
    decided = [(i, d) for i, d in zip(found.images, made.decisions, strict=True) if d.verdict != "accept"]
    for image, decision in decided[:SHOWN]:
        table.add_row(Path(image["file_name"]).name, decision.verdict, "\n".join(decision.reasons))
    if decided:
        console.print(table)
    if len(decided) > SHOWN:
        console.print(f"and {len(decided) - SHOWN} more in {out / 'acceptance.csv'}")
    counts = made.counts
    console.print(f"{counts['accept']} accepted, {counts['reject']} rejected, {counts['look again']} to look at again")
    if wanted.detector_error == "from_evaluation" and not made.size_error.defects:
        console.print("the errors of the detector's boxes are not known: give an evaluation with --run", style="yellow")
    console.print(f"wrote {out / 'acceptance.html'}")
