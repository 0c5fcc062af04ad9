"""Commands fail in one line, and print file names and values as they are."""

import errno
import io
import os
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from rich.table import Table

from data.console import Command, console, progress
from data.errors import InputError


def outcome(error: BaseException) -> Result:
    @click.command(cls=Command)
    def fail() -> None:
        raise error

    return CliRunner().invoke(fail)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (InputError("a.png: two\nlines"), "a.png: two lines"),
        (InputError("Traceback ...\ndata.errors.InputError: a.png: broken"), "a.png: broken"),
        (InputError("a\x1b[31m\udc80b.png"), r"a\x1b[31m\udc80b.png"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out/x.json"),
         "out/x.json: No space left on device; free some space or choose another folder"),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES), b"out"),
         "out: Permission denied; check its permissions or choose another place"),
        (FileExistsError(errno.EEXIST, "File exists", Path("a"), None, Path("b")), "a -> b: File exists"),
        (OSError("Caught OSError in worker 0.\nOSError: the disk is gone"), "OSError: the disk is gone"),
        (OSError(), "OSError"),
    ],
)  # fmt: skip
def test_a_refusal_is_one_line(error: Exception, message: str) -> None:
    result = outcome(error)
    assert (result.exit_code, result.output) == (2, f"error: {message}\n")


def test_other_errors_are_not_hidden() -> None:
    assert isinstance(outcome(KeyError("x")).exception, KeyError)
    assert outcome(KeyboardInterrupt()).exit_code == 130


def test_a_closed_pipe_is_no_fault_of_the_input() -> None:
    assert outcome(BrokenPipeError(errno.EPIPE, "Broken pipe")).exit_code == 1


def test_brackets_and_colons_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(console, "file", out)
    console.print("x[/y].png [red] :x: [nan, 2]")
    table = Table("file", title="t[/z]")
    table.add_row("a[/b].png")
    console.print(table)
    with progress("{task.fields[file]}") as bar:
        bar.add_task("c[/d].png", file="e[/f].png")
    for text in ("x[/y].png [red] :x: [nan, 2]", "a[/b].png", "t[/z]", "c[/d].png", "e[/f].png"):
        assert text in out.getvalue()
