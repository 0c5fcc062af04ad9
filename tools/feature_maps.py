#!/usr/bin/env python3
"""Show which areas of a radiograph the layers of a trained model respond to."""

from pathlib import Path

import click

from data.console import Command, console
from data.errors import InputError
from detectors.experiments.feature_maps import layer_names, write_feature_maps
from detectors.runs.prediction import Predictor


@click.command(cls=Command)
@click.option("--run", required=True, type=click.Path(path_type=Path), help="A run's folder, or a checkpoint.")
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option("--layers", help="Names of layers, with commas between.")
@click.option("--channels", default=8, show_default=True, type=click.IntRange(1), help="Most active maps of a layer.")
@click.option("--out", default="feature_maps", show_default=True, type=click.Path(path_type=Path))
@click.option("--list", "listing", is_flag=True, help="Print the layers' names and stop.")
def main(run: Path, path: Path | None, layers: str | None, channels: int, out: Path, listing: bool) -> None:
    """Write a picture for each of the layers: the radiograph PATH beside the layer's most active maps."""
    predictor = Predictor(run)
    if listing:
        console.print("\n".join(layer_names(predictor.model)))
        return
    if path is None or not layers:
        raise InputError("give a radiograph and --layers a,b (--list names them)")
    for file in write_feature_maps(predictor, path, [name.strip() for name in layers.split(",")], out, channels):
        console.print(f"wrote {file}")


if __name__ == "__main__":
    main()
