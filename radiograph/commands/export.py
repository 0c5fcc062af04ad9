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
@click.option(
    "--format",
    "form",
    type=click.Choice(["onnx", "openvino"]),
    default="onnx",
    help="What runs the model where it is installed: ONNX Runtime or OpenVINO. The graph is ONNX either way.",
)
@click.option("--int8", is_flag=True, help="Quantize the layers to 8-bit integers, as many as accuracy allows.")
@click.option(
    "--calibration", multiple=True, type=PATH, metavar="PATH",
    help="Radiographs or folders of them that --int8 takes the ranges of values from, beside simulated ones. May be "
    "repeated.",
)  # fmt: skip
@click.option(
    "--data",
    "json_file",
    type=PATH,
    help="COCO file that --int8 measures accuracy on; simulated radiographs by default.",
)
@click.option("--images", type=PATH, help="Folder of its radiographs; the file's own by default.")
@max_pixels_option
@click.argument("radiographs", nargs=-1, type=PATH)
def main(
    run: Path,
    out: Path | None,
    form: str,
    int8: bool,
    calibration: tuple[Path, ...],
    json_file: Path | None,
    images: Path | None,
    radiographs: tuple[Path, ...],
) -> None:
    """Export a model so that it runs without PyTorch.

    Writes a folder with the graph (ONNX), its card (classes, gray window, threshold) and their hashes, which
    `radiograph predict --run FOLDER` takes. The exported model is compared with the run on two phantoms, and on
    RADIOGRAPHS if there are any. --int8 prints the accuracy before and after, keeps layers in float32 where it falls or
    boxes move, and writes nothing if it costs more than 0.005 of average precision all the same.
    """
    if not int8 and (calibration or json_file or images):
        raise click.UsageError("--calibration, --data and --images go with --int8")
    if images is not None and json_file is None:
        raise click.UsageError("--images goes with --data")
    from detectors.export.write import export_run, report
    from detectors.runs.checkpoint import load_model

    out = out or Path("exported") / load_model(run)[1].name
    wish = None
    if int8:
        from detectors.export.quantize import Int8Wish

        wish = Int8Wish(calibration, json_file, images)
    report(out, export_run(run, out, radiographs, wish, "openvino" if form == "openvino" else "onnxruntime"))
