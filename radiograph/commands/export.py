"""Export a model so that it runs without PyTorch."""

from pathlib import Path

import click

from radiograph.command import PATH, Command, max_pixels_option


@click.command(cls=Command)
@click.option(
    "--run", default=Path("casting"), type=PATH, metavar="RUN",
    help="Folder of a run, a checkpoint, or weights that come with the toolkit.",
)  # fmt: skip
@click.option(
    "--out", type=PATH, help="Folder of the exported model; by default exported/ and the name of the configuration."
)
@click.option("--format", "form", type=click.Choice(["onnx"]), default="onnx", help="What the graph is.")
@max_pixels_option
@click.argument("radiographs", nargs=-1, type=PATH)
def main(run: Path, out: Path | None, form: str, radiographs: tuple[Path, ...]) -> None:
    """Export a model so that it runs without PyTorch.

    Writes a folder with the graph (ONNX), its card (classes, gray window, threshold) and their hashes, which
    `radiograph predict --run FOLDER` takes. The exported model is compared with the run on two phantoms, and on
    RADIOGRAPHS if there are any.
    """
    from detectors.export.write import export_run, report
    from detectors.runs.checkpoint import load_model

    out = out or Path("exported") / load_model(run)[1].name
    report(out, export_run(run, out, radiographs))
