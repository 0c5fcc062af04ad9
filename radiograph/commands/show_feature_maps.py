"""Show which areas of a radiograph the layers of a trained model respond to."""

from pathlib import Path

import click

from data.console import console
from data.errors import InputError
from radiograph.command import PATH, Command, max_pixels_option


@click.command(cls=Command)
@click.option("--run", required=True, type=PATH, metavar="RUN", help="Folder of a run, or a checkpoint.")
@click.argument("path", required=False, type=PATH)
@click.option("--layers", help="Names of layers, separated by commas.")
@click.option("--channels", default=8, type=click.IntRange(1), help="Number of maps per layer, the most active first.")
@click.option("--out", default="feature_maps", type=PATH)
@click.option("--list", "listing", is_flag=True, help="Print the layers' names and stop.")
@max_pixels_option
def main(run: Path, path: Path | None, layers: str | None, channels: int, out: Path, listing: bool) -> None:
    """Show what a model's layers respond to.

    Writes a picture for each layer: the radiograph PATH beside the layer's most active maps.
    """
    from detectors.experiments.feature_maps import layer_names, write_feature_maps
    from detectors.runs.prediction import Predictor

    predictor = Predictor(run)
    if listing:
        console.print("\n".join(layer_names(predictor.model)))
        return
    if path is None or not layers:
        raise InputError("give a radiograph and --layers a,b (--list names them)")
    for file in write_feature_maps(predictor, path, [name.strip() for name in layers.split(",")], out, channels):
        console.print(f"wrote {file}")
