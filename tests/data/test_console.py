"""File names and values are printed as they are."""

import io

import pytest
from rich.table import Table

from data.console import console, progress


def test_brackets_and_colons_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(console, "_file", out)  # undoing `file` would pin it to this test's output
    console.print("x[/y].png [red] :x: [nan, 2]")
    table = Table("file", title="t[/z]")
    table.add_row("a[/b].png")
    console.print(table)
    with progress("{task.fields[file]}") as bar:
        bar.add_task("c[/d].png", file="e[/f].png")
    for text in ("x[/y].png [red] :x: [nan, 2]", "a[/b].png", "t[/z]", "c[/d].png", "e[/f].png"):
        assert text in out.getvalue()
