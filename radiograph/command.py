"""What every command shares: how it fails, how a run is given to it, and options that mean the same everywhere.

This module and those of the commands import nothing slow at the top: `--help` must answer at once. What does the work
is imported inside the command's function.
"""

import errno
import functools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from data.errors import InputError, one_line
from data.limits import LIMIT_VARIABLE, MAX_SAMPLES

OPTIONAL_PACKAGES = {
    **dict.fromkeys(
        (
            "accelerate", "albumentations", "cv2", "matplotlib", "onnx", "pycocotools", "safetensors", "scipy",
            "skimage", "tensorboard", "torch", "torchvision", "xraydb",
        ),
        "train",
    ),
    "onnxruntime": "runtime",
    **dict.fromkeys(("fsspec", "pyarrow", "ray"), "cluster"),
}  # fmt: skip
"""Packages that only some commands need, and the extra that installs them."""

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

PATH = click.Path(path_type=Path)


class Command(click.Command):
    """A click command whose bad input ends in one line and exit code 2, and Ctrl-C in exit code 130.

    What the operating system refuses (a folder that is read-only, a full disk, a name that is too long) counts as bad
    input: a message names the file and the reason. The help of every option shows its default.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.context_settings.setdefault("show_default", True)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, turning `InputError` and `OSError` into a message without a traceback."""
        _print_any_name()
        try:
            return super().invoke(ctx)
        except InputError as error:
            message = str(error)
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package not in OPTIONAL_PACKAGES:
                raise
            message = describe_missing(package)
        except OSError as error:
            if error.errno == errno.EPIPE:  # `| head` has read enough; click ends the command in silence
                raise
            message = describe_os_error(error)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            sys.exit(130)
        click.echo(f"error: {one_line(message)}", err=True)
        sys.exit(2)


def describe_missing(package: str) -> str:
    """Return what to install where a package is missing that only some commands need."""
    extra = f"[{OPTIONAL_PACKAGES[package]}]"
    others = ", or predict with an exported model (radiograph export)" if package == "torch" else ""
    return (
        f"this needs the package {package}, which is not installed: python -m pip install "
        f"'radiograph-detectors{extra}' (from a checkout: '.{extra}'){others}"
    )


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


def renamed_option(name: str, former: str, **attributes: Any) -> Decorator:
    """Return the decorator of an option whose `former` name is still read, but no longer shown in the help."""
    return click.option(name, former, cls=RenamedOption, **attributes)


class RenamedOption(click.Option):
    """The option of `renamed_option`: its former name is the last of its names that start with dashes."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the option's row of the help without its former name."""
        names = self.opts
        self.opts = names[:-1]
        try:
            return super().get_help_record(ctx)
        finally:
            self.opts = names


class RenamedChoice(click.Choice):
    """A choice of words, some of which had other names once; those are still read and not shown."""

    def __init__(self, choices: Sequence[str], former: Mapping[str, str]) -> None:
        super().__init__(choices)
        self.former = former

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the present word."""
        return super().convert(self.former.get(value, value), param, ctx)


class _HiddenArgument(click.Argument):
    """An argument that the usage line does not show."""

    def get_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Return nothing."""
        return []


def run_option(help_text: str = "Folder of a run.", multiple: bool = False, required: bool = True) -> Decorator:
    """Return the decorator that gives a command `--run RUN`: `run: Path`, or `runs: tuple[Path, ...]` if `multiple`.

    A run that is given as a plain argument, as these commands once took it, is read as well. This does not
    go with a command that has arguments of its own.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def with_runs(*, run_options: tuple[Path, ...], run_arguments: tuple[Path, ...], **others: Any) -> Any:
            runs = (*run_options, *run_arguments)
            if required and not runs:
                raise click.UsageError("give --run RUN" + (", once for each run" if multiple else ""))
            if not multiple and len(runs) > 1:
                raise click.UsageError(f"give one run, not {len(runs)}: {', '.join(map(str, runs))}")
            if multiple:
                return function(runs=runs, **others)
            return function(run=runs[0] if runs else None, **others)

        text = f"{help_text} May be repeated." if multiple else help_text
        option = click.option("--run", "run_options", multiple=True, type=PATH, metavar="RUN", help=text)
        return option(click.argument("run_arguments", nargs=-1, type=PATH, cls=_HiddenArgument)(with_runs))

    return decorate


def cfg_option(required: bool = False, default: str | None = None) -> Decorator:
    """Return the decorator that gives a command `--cfg CONFIG` as `cfg: str | None`."""
    return click.option(
        "--cfg",
        required=required,
        default=default,
        metavar="CONFIG",
        help="Name of a packaged configuration, such as quickstart, or path of a YAML file.",
    )


def set_option(help_text: str = "Override a field of the configuration; may be repeated.") -> Decorator:
    """Return the decorator that gives a command `--set FIELD=VALUE` as `overrides: tuple[str, ...]`."""
    return click.option("--set", "overrides", multiple=True, metavar="FIELD=VALUE", help=help_text)


def match_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--iou` as `iou: float` and `--center` as `center: bool`: what counts as a hit."""
    center = click.option("--center", is_flag=True, help="Match by the detection's center point instead of by IoU.")
    iou = click.option("--iou", default=0.5, help="IoU from which a detection counts as a hit.")
    return iou(center(function))


def max_pixels_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--max-pixels`, the limit on the size of a radiograph for the time of the command."""
    return click.option(
        "--max-pixels",
        type=click.IntRange(1, 10**15 - 1),
        metavar="N",
        expose_value=False,
        callback=_limit_pixels,
        help=f"Read radiographs of up to N pixels (times channels) instead of {MAX_SAMPLES:,}.",
    )(function)


def _limit_pixels(ctx: click.Context, param: click.Parameter, value: int | None) -> None:
    """Set the limit until the command ends, for the processes that it starts as well."""
    if value is None:
        return
    before = os.environ.get(LIMIT_VARIABLE)

    def restore() -> None:
        if before is None:
            os.environ.pop(LIMIT_VARIABLE, None)
        else:
            os.environ[LIMIT_VARIABLE] = before

    ctx.call_on_close(restore)
    os.environ[LIMIT_VARIABLE] = str(value)


def bit_depth_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--bit-depth` as `bit_depth: int | None`."""
    return click.option(
        "--bit-depth",
        type=click.IntRange(1, 16),
        metavar="BITS",
        help="Bits of a gray level where files state them wrongly.",
    )(function)


def parse_size(text: str, option: str) -> tuple[int, int]:
    """Return (width, height) of a text such as 768x572. Raises InputError that names `option` for anything else."""
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise InputError(f"{option} {text!r} is not WIDTHxHEIGHT in pixels; write for example 768x572")
    return int(width), int(height)


def parse_numbers(text: str, option: str, form: str) -> tuple[float, ...]:
    """Return the numbers of a text such as 10,20,30,40, as many as `form` names.

    Raises InputError that names `option` for anything else.
    """
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != form.count(",") + 1 or not all(abs(number) < 1e9 for number in numbers):
        raise InputError(f"{option} {text!r} is not {form} in pixels; write for example 10,20,120,80")
    return numbers
