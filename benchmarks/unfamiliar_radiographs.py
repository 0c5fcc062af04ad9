"""Measure the alarm for unfamiliar radiographs: its false alarms on like ones, and what it sees of others.

    python benchmarks/unfamiliar_radiographs.py --run casting LEARN OTHER...

LEARN and OTHER are folders of radiographs. Half of LEARN, at random, is learned from, the other half counts false
alarms; so 50 times.
"""

from pathlib import Path

import click
import numpy as np

from data.console import console, progress
from data.radiograph import find_radiographs
from detectors.decisions.familiarity import Watch, learn
from detectors.runs.prediction import Predictor
from detectors.runs.reading import read_sized

SPLITS = 50
RATES = (0.05, 0.1)


@click.command()
@click.option("--run", type=click.Path(path_type=Path), default=Path("casting"))
@click.option("--most", type=click.IntRange(1), default=300, help="Radiographs of a folder.")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
def main(run: Path, most: int, folders: tuple[Path, ...]) -> None:
    predictor = Predictor(run)
    features = []
    for folder in folders:
        watch = Watch(predictor)
        with progress(transient=True) as bar:
            for file in bar.track(find_radiographs([folder])[:most], description=folder.name):
                watch.find(read_sized(file, watch.window), with_map=False)
        features.append(np.array(watch.features))
    own, *others = features
    rng = np.random.default_rng(0)
    for rate in RATES:
        alarms: list[list[float]] = [[] for _ in features]
        for split in range(SPLITS):
            order = rng.permutation(len(own))
            half = len(own) // 2
            found = learn(own[order[:half]], rate, split)
            for rates, tested in zip(alarms, (own[order[half:]], *others), strict=True):
                rates.append(float((found.distance(tested) > found.threshold).mean()))
        for folder, rates, tested in zip(folders, alarms, features, strict=True):
            spread = f"5 % {np.quantile(rates, 0.05):.3f}, 95 % {np.quantile(rates, 0.95):.3f}"
            console.print(f"rate {rate}, {folder.name} ({len(tested)}): alarms {np.mean(rates):.3f} ({spread})")


if __name__ == "__main__":
    main()
