"""The options that commands share, and how they fail, on commands made for the test."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from data.errors import InputError
from data.limits import LIMIT_VARIABLE, max_samples
from radiograph.cli import main as radiograph
from radiograph.command import Command, RenamedChoice, max_pixels_option, parse_size, renamed_option, run_option


@click.command(cls=Command)
@run_option()
def one(run: Path) -> None:
    click.echo(f"<{run}>")


@click.command(cls=Command)
@run_option(multiple=True)
def several(runs: tuple[Path, ...]) -> None:
    click.echo(f"<{' '.join(map(str, runs))}>")


@click.command(cls=Command)
@renamed_option("--count", "--n", default=1)
def counting(count: int) -> None:
    if count < 0:
        raise InputError("a count\nbelow 0")
    click.echo(f"<{count}>")


@click.command(cls=Command)
@click.option("--style", type=RenamedChoice(["easy", "hard"], {"plain": "easy"}), default="hard")
def styled(style: str) -> None:
    click.echo(f"<{style}>")


@click.command(cls=Command)
@max_pixels_option
def limited() -> None:
    child = subprocess.run(
        [sys.executable, "-c", "from data.limits import max_samples; print(max_samples())"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    click.echo(f"<{max_samples()} {child.stdout.strip()}>")


def test_max_pixels_holds_in_the_command_and_its_processes_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    for before in (None, "1000"):
        monkeypatch.delenv(LIMIT_VARIABLE, raising=False)
        if before:
            monkeypatch.setenv(LIMIT_VARIABLE, before)
        assert CliRunner().invoke(limited, ["--max-pixels", "55"]).output == "<55 55>\n"
        assert os.environ.get(LIMIT_VARIABLE) == before
    assert CliRunner().invoke(limited, []).output == "<1000 1000>\n"
    assert CliRunner().invoke(limited, ["--max-pixels", "0"]).exit_code == 2


@pytest.mark.parametrize("depth", [False, True])
def test_commands_that_read_radiographs_take_their_limits(depth: bool) -> None:
    assert isinstance(radiograph, click.Group)
    names = ["predict", "evaluate", "check-data", "make-patches", "simulate-defects"]
    if not depth:
        names += ["train", "adapt", "evaluate-series", "prepare-gdxray", "show-feature-maps", "benchmark", "report"]
    for name in names:
        command = radiograph.get_command(click.Context(radiograph), name)
        assert command is not None
        options = {option for param in command.params for option in param.opts}
        assert ("--bit-depth" if depth else "--max-pixels") in options, name


@pytest.mark.parametrize(
    ("command", "arguments", "output"),
    [
        (one, "--run a", "<a>"),
        (one, "a", "<a>"),
        (several, "--run a --run b", "<a b>"),
        (several, "a b", "<a b>"),
        (several, "--run a b", "<a b>"),
        (counting, "--count 3", "<3>"),
        (counting, "--n 3", "<3>"),
        (counting, "", "<1>"),
        (styled, "--style easy", "<easy>"),
        (styled, "--style plain", "<easy>"),
        (styled, "", "<hard>"),
    ],
)
def test_former_ways_are_still_read(command: click.Command, arguments: str, output: str) -> None:
    result = CliRunner().invoke(command, arguments.split())
    assert (result.exit_code, result.output) == (0, output + "\n")


@pytest.mark.parametrize(("command", "arguments"), [(one, ""), (one, "--run a --run b"), (one, "a b"), (several, "")])
def test_a_wrong_number_of_runs_is_a_usage_error(command: click.Command, arguments: str) -> None:
    result = CliRunner().invoke(command, arguments.split())
    assert result.exit_code == 2
    assert "run" in result.stderr.splitlines()[-1]


def test_former_ways_are_not_in_the_help() -> None:
    assert "--n" not in CliRunner().invoke(counting, ["--help"]).output.replace("--count", "")
    assert "plain" not in CliRunner().invoke(styled, ["--help"]).output
    assert CliRunner().invoke(styled, ["--style", "other"]).exit_code == 2
    usage = CliRunner().invoke(one, ["--help"]).output.splitlines()[0]
    assert usage.endswith("[OPTIONS]")


def test_bad_input_is_one_line_and_exit_code_2() -> None:
    result = CliRunner().invoke(counting, ["--count", "-1"])
    assert (result.exit_code, result.stderr) == (2, "error: a count below 0\n")


@pytest.mark.parametrize("text", ["768", "768x", "0x10", "axb", "1x2x3", "-1x5"])
def test_a_size_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"--image-size .*768x572"):
        parse_size(text, "--image-size")


def test_a_size_is_width_and_height() -> None:
    assert parse_size("768x572", "--size") == (768, 572)


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
