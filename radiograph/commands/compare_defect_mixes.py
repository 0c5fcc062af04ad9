r"""Train patch classifiers on mixes of ellipsoidal and GAN defects, and evaluate them on real ones.

This is Table 4 and Fig. 9 of Mery 2020 for any data. The paper trains on odd image numbers of seven series (C0001,
C0010, C0015, C0021, C0031, C0034, C0061) and tests on even ones, some 4,400 patches a radiograph; with these series
under GDXRAY/Castings:

    radiograph prepare-gdxray GDXRAY --out coco --split odd-even --fractions 0.8 0 0.2
    radiograph compare-defect-mixes --cfg xnet_ii.yaml coco/train.json --images GDXRAY --test coco/test.json \
        --per-series --patches 512000 --epochs 10 --out defect_mixes

Defects here are simulated anew in every epoch: fewer patches per epoch show as many of them in the end.
"""

from pathlib import Path

import click

from data.console import console
from radiograph.command import PATH, Command, cfg_option, max_pixels_option, renamed_option, set_option
from radiograph.task_options import training_options, training_tasks


@click.command(cls=Command)
@click.argument("coco_train", required=False, type=PATH)
@cfg_option(default="xnet_ii.yaml")
@click.option("--images", type=PATH, help="Folder of the radiographs; that of COCO_TRAIN by default.")
@click.option("--test", type=PATH, help="COCO file of the test radiographs with their real defects.")
@click.option("--test-images", type=PATH, help="Folder of the test radiographs; --images by default.")
@click.option(
    "--phantoms",
    nargs=2,
    type=click.IntRange(1),
    metavar="TRAIN TEST",
    help="Simulated castings instead of COCO files; their own defects are the real ones.",
)
@click.option("--out", required=True, type=PATH, help="Folder for table.md, metrics.json, figures and the runs.")
@renamed_option(
    "--mixes",
    "--shares",
    default="100/0,75/25,50/50,25/75,0/100",
    help="Ellipsoidal/GAN defects in %, separated by commas.",
)
@click.option("--gan", type=PATH, help="A GAN's run, or a patch file of its samples; else one is trained here.")
@click.option("--gan-epochs", type=click.IntRange(1), help="Epochs of the GAN trained here; else those of dcgan.yaml.")
@click.option("--per-series", is_flag=True, help="E100G000*, too: a model for each series, detections pooled.")
@click.option(
    "--patches", type=click.IntRange(2), help="Patches per epoch; else twice data.patches.per_image an image."
)
@click.option("--epochs", type=click.IntRange(1), help="Epochs of each model; else those of the configuration.")
@click.option("--seed", type=click.IntRange(0), help="Of everything random; else that of the configuration.")
@set_option()
@training_options
@max_pixels_option
def main(
    coco_train: Path | None,
    cfg: str,
    images: Path | None,
    test: Path | None,
    test_images: Path | None,
    phantoms: tuple[int, int] | None,
    out: Path,
    mixes: str,
    gan: Path | None,
    gan_epochs: int | None,
    per_series: bool,
    patches: int | None,
    epochs: int | None,
    seed: int | None,
    overrides: tuple[str, ...],
    workers: int | None,
    cluster: str | None,
) -> None:
    """Train on mixes of simulated and GAN defects.

    One patch classifier is trained for each mix of ellipsoidal and GAN defects, and all are evaluated on real defects.
    Defects are simulated over the radiographs of COCO_TRAIN, whose own are inpainted. Running the same command again
    continues after the finished models, in the middle of the one that was interrupted.
    """
    from detectors.config.files import read_config
    from detectors.experiments.defect_mix_data import Experiment, defect_mix_config, origins_of, parse_mixes
    from detectors.experiments.defect_mixes import compare_defect_mixes, results_table

    origins = origins_of(coco_train, images, test, test_images, phantoms)
    config = defect_mix_config(read_config(cfg, overrides), *origins, epochs, patches, seed)
    experiment = Experiment(config, out, gan, gan_epochs)
    rows = compare_defect_mixes(experiment, parse_mixes(mixes), per_series, training_tasks(workers, cluster))
    console.print(results_table(rows))
    console.print(f"wrote table.md, metrics.json and precision_recall_50.png into {out}")
