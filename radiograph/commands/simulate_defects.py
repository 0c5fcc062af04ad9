"""Add simulated ellipsoidal defects to radiographs and write them with COCO annotations."""

from pathlib import Path
from typing import Literal

import click

from data.console import console
from data.errors import InputError
from radiograph.command import PATH, Command, bit_depth_option, max_pixels_option
from radiograph.task_options import cluster_option, shard_tasks


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
@click.option(
    "--shards",
    type=click.IntRange(1),
    help="Write radiographs and boxes as so many Parquet parts each, for sets of any size.",
)
@click.option(
    "--copies", type=click.IntRange(1), help="With --shards: how often each radiograph is used; 1 by default."
)
@cluster_option("Write shards")
@click.option("--workers", type=click.IntRange(1), help="With --shards: processes; by default one per core.")
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
    shards: int | None,
    copies: int | None,
    cluster: str | None,
    workers: int | None,
) -> None:
    """Add simulated defects to your own radiographs.

    SOURCE is a COCO file, whose defects are kept clear of, or a folder of defect-free radiographs. Each radiograph
    gets PER_IMAGE simulated defects and is written to OUT with COCO annotations. With --shards radiographs lie in
    OUT/radiographs and their boxes in OUT/truth, as Parquet; the same command again writes the shards that are missing.
    """
    for option, value in (("--copies", copies), ("--cluster", cluster), ("--workers", workers)):
        if shards is None and value is not None:
            raise InputError(f"{option}: works on shards; say how many with --shards")
    from data.coco import read_coco
    from data.defect_free import read_defect_free
    from data.synthesis.simulated_set import write_simulated
    from data.synthesis.simulation_config import SimulationConfig

    config = SimulationConfig(
        polarity=polarity, real_defects=real_defects, sizes_from=sizes_from, patches_from=patches_from
    )
    dataset = read_defect_free(source) if source.is_dir() else read_coco(source)
    folder = images or (source if source.is_dir() else source.parent)
    if shards is not None:
        from data.synthesis.simulated_shards import count_simulated, write_simulated_shards

        tasks = shard_tasks(workers, cluster)
        manifest = write_simulated_shards(
            dataset, folder, out, config, per_image, shards, seed, copies=copies or 1, bit_depth=bit_depth, tasks=tasks
        )
        counts = count_simulated(manifest)
        console.print(f"{counts['simulated']} simulated defects in {counts['radiographs']} radiographs: {manifest}")
        console.print(f"examples: {out / 'montage.png'}")
        return
    annotations = write_simulated(dataset, folder, out, config, per_image, seed, bit_depth)
    simulated = [a for a in read_coco(annotations).annotations if a.get("simulated")]
    console.print(f"{len(simulated)} simulated defects: {annotations}")
    console.print(f"examples: {out / 'before_after.png'}")
