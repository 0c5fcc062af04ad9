"""Add simulated ellipsoidal defects to radiographs and write them with COCO annotations."""

from pathlib import Path
from typing import Literal

import click

from data.console import console
from radiograph.command import PATH, Command, bit_depth_option, max_pixels_option


@click.command(cls=Command)
@click.argument("source", type=PATH)
@click.option("--images", type=PATH, help="Folder of the radiographs; the file's own by default.")
@click.option("--out", type=PATH, required=True, help="A new or empty folder.")
@click.option("--per-image", type=click.IntRange(0), default=5)
@click.option("--seed", type=click.IntRange(0), default=0)
@click.option(
    "--polarity",
    type=click.Choice(["brighter", "darker", "either"]),
    default="brighter",
    help="Brighter in castings, darker on weld films.",
)
@bit_depth_option
@click.option("--real-defects", type=click.Choice(["keep", "inpaint"]), default="keep")
@click.option("--sizes-from", type=click.Path(path_type=str), help="A COCO file whose box sizes are sampled.")
@click.option("--patches-from", type=click.Path(path_type=str), help="A patch file that half of the shapes come from.")
@max_pixels_option
def main(
    source: Path,
    images: Path | None,
    out: Path,
    per_image: int,
    seed: int,
    polarity: Literal["brighter", "darker", "either"],
    real_defects: Literal["keep", "inpaint"],
    sizes_from: str | None,
    patches_from: str | None,
    bit_depth: int | None,
) -> None:
    """Add simulated defects to your own radiographs.

    SOURCE is a COCO file, whose defects are kept clear of, or a folder of defect-free radiographs. Each radiograph
    gets PER_IMAGE simulated defects and is written to OUT with COCO annotations.
    """
    from data.coco import read_coco
    from data.defect_free import read_defect_free
    from data.synthesis.simulated_set import write_simulated
    from data.synthesis.simulation_config import SimulationConfig

    config = SimulationConfig(
        polarity=polarity, real_defects=real_defects, sizes_from=sizes_from, patches_from=patches_from
    )
    dataset = read_defect_free(source) if source.is_dir() else read_coco(source)
    folder = images or (source if source.is_dir() else source.parent)
    annotations = write_simulated(dataset, folder, out, config, per_image, seed, bit_depth)
    simulated = [a for a in read_coco(annotations).annotations if a.get("simulated")]
    console.print(f"{len(simulated)} simulated defects: {annotations}")
    console.print(f"examples: {out / 'before_after.png'}")
