"""Check that a frozen run still gives the same answers."""

import sys
from pathlib import Path

import click

from radiograph.command import PATH, Command, max_pixels_option


@click.command(cls=Command)
@click.option("--details", is_flag=True, help="Name everything that differs.")
@click.option("--seal", metavar="HASH", help="Seal that freeze printed, noted elsewhere.")
@click.option("--head", metavar="HASH", help="Hash of an override that verify or override printed, noted elsewhere.")
@click.argument("bundle", type=PATH)
@max_pixels_option
def main(details: bool, seal: str | None, head: str | None, bundle: Path) -> None:
    """Check that a frozen run still gives the same answers.

    Prints one line; the exit code is 0 where the bundle holds, 1 where something differs and 2 for bad input.
    """
    from detectors.qualification.verify import verify

    found = verify(bundle, seal, head)
    log = f"{found.overrides} overrides, head {found.head[:16]}"
    if found.holds:
        click.echo(f"{bundle}: holds; {found.references} references answered as qualified; {log}")
    else:
        more = len(found.differences) - 1
        others = f" (and {more} more; --details names all)" if more and not details else ""
        click.echo(f"{bundle}: DIFFERS: {found.differences[0]}{others}")
    if details:
        for line in found.differences[1:]:
            click.echo(f"differs: {line}")
        for line in found.notes:
            click.echo(f"note: {line}; no answer changed")
        click.echo(f"seal {found.seal}")
        click.echo(f"head {found.head}")
    sys.exit(0 if found.holds else 1)
