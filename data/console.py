"""The console that everything prints to, and one style of progress bars."""

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

# No markup and no emoji: what is printed is file names and values, where [b] and :x: are no codes.
console = Console(soft_wrap=True, markup=False, emoji=False)


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
