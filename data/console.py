"""What every command shares: one console, one progress bar style, one way to fail."""

import sys
from typing import Any

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from data.errors import InputError

console = Console(soft_wrap=True)


class Command(click.Command):
    """A click command whose bad input ends in one line and exit code 2, and Ctrl-C in exit code 130."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, turning `InputError` into a message without a traceback."""
        try:
            return super().invoke(ctx)
        except InputError as error:
            # A data loader's worker wraps its error in a traceback, whose last line is the message.
            message = " ".join(str(error).rpartition("data.errors.InputError: ")[2].split())
            click.echo(f"error: {message}", err=True)
            sys.exit(2)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            sys.exit(130)


def progress(*columns: str, transient: bool = False, disable: bool = False) -> Progress:
    """Return a rich progress bar with counts and times; `columns` are extra text columns.

    The extra columns are format strings over the task, such as "{task.fields[loss]}"; where there are any, they
    say what time is left.
    """
    remaining = [] if columns else [TimeRemainingColumn()]
    return Progress(
        SpinnerColumn(),
        TextColumn("[progress.description]{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        *(TextColumn(column) for column in columns),
        TimeElapsedColumn(),
        *remaining,
        console=console,
        transient=transient,
        disable=disable,
    )
