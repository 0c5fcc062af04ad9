"""The console command `radiograph`: one subcommand for each step of work, imported when it is asked for."""

import difflib
import importlib
from collections.abc import Iterator

import click

from radiograph import __version__

STEPS = {
    "Prepare data": ("prepare-gdxray", "check-data", "make-patches", "annotate-volume"),
    "Simulate": ("make-phantoms", "simulate-defects", "sample-gan"),
    "Train": (
        "show-config",
        "train",
        "train-without-labels",
        "adapt",
        "measure-learning-curve",
        "compare-defect-mixes",
        "compare-pore-models",
    ),
    "Evaluate": (
        "evaluate",
        "evaluate-archive",
        "evaluate-series",
        "choose-threshold",
        "estimate-pod",
        "estimate-box-padding",
        "benchmark",
    ),
    "Report": ("report", "compare", "plot-pr", "show-feature-maps"),
    "Predict": ("predict", "export", "analyze-pores"),
    "Decide": ("accept", "bound-misses", "learn-normal", "simulate-pod"),
    "Qualify": ("image-quality", "freeze", "verify", "override", "write-back", "grade-severity"),
}
"""The commands by step of work. A command is the module of that name in radiograph/commands/, with its `main`."""

FORMER_NAMES = {
    "eval": "evaluate",
    "feature-maps": "show-feature-maps",
    "fit-margin": "estimate-box-padding",
    "learning-curve": "measure-learning-curve",
    "make-phantom": "make-phantoms",
    "pod": "estimate-pod",
    "run-exgy": "compare-defect-mixes",
}
"""Names that commands once had; they still work and are not listed."""


def command_names() -> list[str]:
    """Return the names of all commands, in the order of the steps of work."""
    return [name for names in STEPS.values() for name in names]


class Group(click.Group):
    """A group that imports a subcommand when it is needed, and lists the subcommands by step of work."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in the order of the steps of work."""
        return command_names()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command; None for an unknown name. Underscores in the name are read as dashes."""
        name = cmd_name.replace("_", "-").removesuffix(".py")
        name = FORMER_NAMES.get(name, name)
        if name not in command_names():
            return None
        command: click.Command = importlib.import_module(f"radiograph.commands.{name.replace('-', '_')}").main
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command to run; for an unknown one, name the nearest."""
        if not args or args[0].startswith("-"):
            return super().resolve_command(ctx, args)
        command = self.get_command(ctx, args[0])
        if command is None:
            close = difflib.get_close_matches(args[0].replace("_", "-"), [*command_names(), *FORMER_NAMES], n=1)
            nearest = FORMER_NAMES.get(close[0], close[0]) if close else None
            hint = f"did you mean '{nearest}'?" if nearest else "'radiograph --help' lists all"
            raise click.UsageError(f"no such command '{args[0]}': {hint}", ctx)
        return args[0], command, args[1:]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands under a heading for each step of work."""
        for step, names in STEPS.items():
            with formatter.section(step):
                formatter.write_dl(list(self._rows(ctx, names)), col_max=30)

    def _rows(self, ctx: click.Context, names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        width = max(map(len, command_names()))
        for name in names:
            command = self.get_command(ctx, name)
            assert command is not None, name
            yield name.ljust(width), command.get_short_help_str(limit=90)


@click.command(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="radiograph")
def main() -> None:
    """Find, measure and report defects in X-ray radiographs of castings and welds.

    Start with `radiograph train --cfg quickstart`, then `radiograph predict --run RUN PATH...`.
    """


if __name__ == "__main__":
    main()
