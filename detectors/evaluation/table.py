"""Tables of metrics: for the console, for Markdown, and for spreadsheets."""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from data.files import atomic_path
from detectors.evaluation.metrics import Metrics, display, title_of


def metrics_table(runs: Mapping[str, Metrics]) -> Table:
    """Return a table with one column a run and one row a metric that at least one run has; "n/a" for None."""
    table = Table("metric", *runs, title="results")
    names = list(dict.fromkeys(name for metrics in runs.values() for name in metrics))
    for name in names:
        values = [metrics.get(name) for metrics in runs.values()]
        if any(value is not None for value in values):
            table.add_row(title_of(name), *(display(value) for value in values))
    return table


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table with a final line end; a bar or a line end in a cell does not end the cell."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(_markdown_cell(cell) for cell in line) + " |\n" for line in lines)


def _markdown_cell(cell: object) -> str:
    return " ".join(str(cell).split()).replace("|", "\\|")


def write_csv(path: str | Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table as CSV, atomically; None is an empty field.

    A text that a spreadsheet would take for a formula (it begins with =, +, -, @, tab or return) gets an apostrophe
    in front, as spreadsheets themselves mark text; numbers stay as they are.
    """
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows([csv_cell(value) for value in row] for row in rows)


def csv_cell(value: Any) -> Any:
    """Return a value as it may stand in a CSV file: texts that begin like a formula marked as text."""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") and not re.fullmatch(NUMBER, value):
        return "'" + value
    return value


NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
