#!/usr/bin/env python3
"""Put simulated ellipsoidal defects into radiographs and write them with COCO annotations and a picture."""

from pathlib import Path

import click

from data.coco import read_coco
from data.console import Command, console
from data.defect_free import read_defect_free
from data.synthesis.simulated_set import write_simulated
from data.synthesis.simulation_config import SimulationConfig


@click.command(cls=Command)
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--images", type=click.Path(path_type=Path), help="Folder of the radiographs; the file's own by default.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A folder of its own.")
@click.option("--per-image", type=click.IntRange(0), default=5, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--polarity", type=click.Choice(["brighter", "darker", "either"]), default="brighter", show_default=True,
              help="Brighter in castings, darker on weld films.")  # fmt: skip
@click.option("--real-defects", type=click.Choice(["keep", "inpaint"]), default="keep", show_default=True)
@click.option("--sizes-from", type=click.Path(path_type=str), help="A COCO file whose boxes give the sizes.")
@click.option("--patches-from", type=click.Path(path_type=str), help="Patches that half of the shapes come from.")
def main(source: Path, images: Path | None, out: Path, per_image: int, seed: int, polarity: str, real_defects: str,
         sizes_from: str | None, patches_from: str | None) -> None:  # fmt: skip
    """Write radiographs with PER_IMAGE simulated defects each to OUT.

    SOURCE is a COCO file, whose defects are kept apart, or a folder of radiographs without defects.
    """
    config = SimulationConfig(
        polarity=polarity, real_defects=real_defects, sizes_from=sizes_from, patches_from=patches_from
    )
    dataset = read_defect_free(source) if source.is_dir() else read_coco(source)
    folder = images or (source if source.is_dir() else source.parent)
    annotations = write_simulated(dataset, folder, out, config, per_image, seed)
    simulated = [a for a in read_coco(annotations).annotations if a.get("simulated")]
    console.print(f"{len(simulated)} simulated defects: {annotations}")
    console.print(f"look at {out / 'before_after.png'}")


if __name__ == "__main__":
    main()
