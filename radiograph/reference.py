"""The commands and their options as a page to read, made from the commands themselves."""

from collections.abc import Iterator

import click

from radiograph.cli import FORMER_NAMES, STEPS, main

INTRODUCTION = """\
# Commands

`radiograph COMMAND --help` shows the same. From a checkout, `python tools/COMMAND.py` (with underscores for dashes)
runs a command without installing it as one, and is what `accelerate launch` and `torchrun` start. A run is always
given as `--run RUN`: the folder of a training, or where it is only read, of an evaluation. Bad input ends in one line
that names the file, the ID, the value and the fix, with exit code 2; Ctrl-C ends with 130.

This page is generated from the code by `docs/generate.py`.
"""


def commands_page() -> str:
    """Return the reference of all commands as Markdown, by step of work."""
    context = click.Context(main)
    lines = [INTRODUCTION]
    for step, names in STEPS.items():
        lines += [f"## {step}", ""]
        for name in names:
            command = main.get_command(context, name)
            assert command is not None, name
            lines += _command_lines(name, command)
    former = ", ".join(f"`{old}` (now `{new}`)" for old, new in FORMER_NAMES.items())
    lines += [f"Former names of commands that still work: {former}.", ""]
    return "\n".join(lines)


def _command_lines(name: str, command: click.Command) -> Iterator[str]:
    parent = click.Context(main, info_name="radiograph")
    context = click.Context(command, info_name=name, parent=parent, **command.context_settings)
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield from (f"### {name}", "", f"`{usage}`", "", _text(command.help or ""), "")
    yield from ("| option | does |", "|---|---|")
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if record is not None and record[1]:
            yield f"| `{_cell(record[0])}` | {_cell(record[1])} |"
    yield ""


def _text(help_text: str) -> str:
    """Return a help text as Markdown without what tells click how to wrap it."""
    return "\n".join(line.strip() for line in help_text.replace("\b", "").splitlines()).strip()


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
