"""Record that an inspector decided otherwise."""

from pathlib import Path

import click

from data.console import console
from radiograph.command import PATH, Command


@click.command(cls=Command)
@click.option("--radiograph", required=True, type=PATH, metavar="FILE", help="Radiograph that was decided on.")
@click.option("--from", "before", required=True, metavar="TEXT", help="What the system said, such as accept.")
@click.option("--to", "after", required=True, metavar="TEXT", help="What the inspector decided, such as reject.")
@click.option("--inspector", required=True, metavar="NAME", help="Who decided.")
@click.option("--reason", required=True, metavar="TEXT", help="Why.")
@click.argument("bundle", type=PATH)
def main(radiograph: Path, before: str, after: str, inspector: str, reason: str, bundle: Path) -> None:
    """Record that an inspector decided otherwise.

    Appends one line to the log of a frozen run. Lines are bound to each other by hashes, and verify sees where one was
    removed or changed.
    """
    from detectors.qualification.overrides import append_override

    entry = append_override(bundle, radiograph, before, after, inspector, reason)
    console.print(f"override {entry['number']}, head {entry['hash']}", soft_wrap=True)
