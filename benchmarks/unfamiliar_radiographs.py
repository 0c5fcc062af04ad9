"""Measure the alarm for unfamiliar radiographs: its false alarms on like ones, and what it sees of others.

    python benchmarks/unfamiliar_radiographs.py [--learn FOLDER] [OTHER...]

Learned from are copies of one phantom casting (384 x 288), turned by up to 3 degrees, shifted by up to 6 px, each with
its own noise; or the radiographs of FOLDER. Of 100, 30 give mean and covariance, 30 the threshold, and 40 more count
false alarms; drawn anew 20 times. Tested, too: 12 of each: with more noise, with less contrast, turned by 90 degrees,
other castings, and folders OTHER of radiographs.
"""

import tempfile
from pathlib import Path

import click
import cv2
import numpy as np

from data.console import console, progress
from data.radiograph import find_radiographs, read_radiograph, write_radiograph
from data.synthesis.phantom import make_phantom
from detectors.decisions.familiarity import Watch, learn, watch
from detectors.runtime.opening import open_predictor

SIZE, PART, COPIES, TESTED, SPLITS = (384, 288), (21, 17), 100, 12, 20
RATES = (0.05, 0.1)


def moved(pixels: np.ndarray, rng: np.random.Generator, noise: float = 0.008) -> np.ndarray:
    height, width = pixels.shape
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), rng.uniform(-3, 3), 1.0)
    matrix = matrix + np.outer(rng.uniform(-6, 6, 2), [0, 0, 1])
    laid = cv2.warpAffine(pixels, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return (laid + rng.normal(0, noise, laid.shape)).clip(0, 1).astype(np.float32)


def features_of(detector: Watch, pictures: list[np.ndarray], folder: Path) -> np.ndarray:
    """Return the features of pictures as they are read from files."""
    features = []
    for pixels in pictures:
        write_radiograph(folder / "one.png", pixels, 8)
        features.append(detector.find(read_radiograph(folder / "one.png"), with_map=False).features)
    return np.array(features)


@click.command()
@click.option("--run", type=click.Path(path_type=Path), default=Path("casting"))
@click.option("--learn", "known", type=click.Path(path_type=Path), help="Radiographs to learn from.")
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path))
def main(run: Path, known: Path | None, folders: tuple[Path, ...]) -> None:
    detector, rng = watch(open_predictor(run)[0]), np.random.default_rng(0)
    if known is None:
        part = make_phantom("castings", *PART, size=SIZE).pixels
        own = [moved(part, rng) for _ in range(COPIES)]
        bases = [part] * TESTED
    else:
        own = [read_radiograph(file).pixels for file in find_radiographs([known])[:COPIES]]
        bases = own[:TESTED]
    sets = {
        "the same": own,
        "more noise": [moved(base, rng, 0.024) for base in bases],
        "0.8 of the contrast": [moved(0.1 + 0.8 * base, rng) for base in bases],
        "turned by 90 degrees": [moved(np.rot90(base).copy(), rng) for base in bases],
        "other castings": [make_phantom("castings", 12, k, size=SIZE).pixels for k in range(TESTED)],
    }
    for folder in folders:
        files = find_radiographs([folder])[:TESTED]
        sets[folder.name] = [read_radiograph(file).pixels for file in files]
    features = {}
    with tempfile.TemporaryDirectory() as scratch, progress(transient=True) as bar:
        for name in bar.track(list(sets)):
            features[name] = features_of(detector, sets[name], Path(scratch))
    learned = features["the same"]
    for rate in RATES:
        alarms: dict[str, list[float]] = {name: [] for name in features}
        for split in range(SPLITS):
            order = rng.permutation(COPIES)
            found = learn(learned[order[:60]], rate, split)
            for name, tested in features.items():
                judged = learned[order[60:]] if tested is learned else tested
                alarms[name].append(float((found.distance(judged) > found.threshold).mean()))
        for name, rates in alarms.items():
            console.print(f"rate {rate}: {name}: alarms {np.mean(rates):.3f}")


if __name__ == "__main__":
    main()
