"""What every command shares: one console, one progress bar style, one way to fail."""

import errno
import os
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

# No markup and no emoji: what is printed is file names and values, where [b] and :x: are no codes.
console = Console(soft_wrap=True, markup=False, emoji=False)


class Command(click.Command):
    """A click command whose bad input ends in one line and exit code 2, and Ctrl-C in exit code 130.

    What the operating system refuses (a folder that is read-only, a full disk, a name that is too long) counts as bad
    input: a message names the file and the reason.
    """

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, turning `InputError` and `OSError` into a message without a traceback."""
        _print_any_name()
        try:
            return super().invoke(ctx)
        except InputError as error:
            # A data loader's worker wraps its error in a traceback, whose last line is the message.
            message = str(error).rpartition("data.errors.InputError: ")[2]
        except OSError as error:
            if error.errno == errno.EPIPE:  # `| head` has read enough; click ends the command in silence
                raise
            message = describe_os_error(error)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            sys.exit(130)
        click.echo(f"error: {one_line(message)}", err=True)
        sys.exit(2)


def one_line(text: str) -> str:
    """Return text as one line that any terminal shows as it is: no control codes, no half characters."""
    words = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in words)


def describe_os_error(error: OSError) -> str:
    """Return what the operating system refused, with the file's name where it is known."""
    names = [
        os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes | os.PathLike)
    ]
    reason = error.strerror or (str(error).strip().splitlines() or [type(error).__name__])[-1]
    fix = {
        errno.ENOSPC: "free some space or choose another folder",
        errno.EDQUOT: "free some space or choose another folder",
        errno.EROFS: "choose a folder that can be written",
        errno.EACCES: "check its permissions or choose another place",
        errno.EPERM: "check its permissions or choose another place",
        errno.ENAMETOOLONG: "choose a shorter name",
        errno.EMFILE: "raise the limit of open files (ulimit -n) or use fewer workers",
    }.get(error.errno or 0)
    return f"{' -> '.join(names)}{': ' if names else ''}{reason}{f'; {fix}' if fix else ''}"


def _print_any_name() -> None:
    """Let standard output print file names that its encoding cannot hold, escaped."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def progress(*columns: str, transient: bool = False, disable: bool = False) -> Progress:
    """Return a rich progress bar with counts and times; `columns` are extra text columns.

    The extra columns are format strings over the task, such as "{task.fields[loss]}"; where there are any, they
    say what time is left.
    """
    remaining = [] if columns else [TimeRemainingColumn()]
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", style="progress.description", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        *(TextColumn(column, markup=False) for column in columns),
        TimeElapsedColumn(),
        *remaining,
        console=console,
        transient=transient,
        disable=disable,
    )
