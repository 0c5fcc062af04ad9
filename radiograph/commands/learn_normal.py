"""Learn what radiographs look like that a detector was qualified on."""

from pathlib import Path

import click

from data.console import console
from data.errors import InputError
from radiograph.command import PATH, Command, max_pixels_option


@click.command(cls=Command)
@click.option("--run", default=Path("casting"), type=PATH, metavar="RUN",
              help="A run, an exported model of boxes, or packaged weights.")  # fmt: skip
@click.option("--out", type=PATH, metavar="FILE", help="File to write; by default normal.npz in the run's folder.")
@click.option("--false-alarms", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.05,
              help="Share of such radiographs that may raise the alarm.")  # fmt: skip
@click.argument("paths", nargs=-1, required=True, type=PATH)
@max_pixels_option
def main(run: Path, out: Path | None, false_alarms: float, paths: tuple[Path, ...]) -> None:
    """Learn what familiar radiographs look like.

    PATHS are radiographs like those that the detector was qualified on, or folders of them. Prediction then raises an
    alarm for radiographs that are unlike them. A random half of PATHS sets how unlike.
    """
    import numpy as np

    from data.console import progress
    from data.radiograph import find_radiographs
    from detectors.decisions.familiarity import learn, watch, write_familiar
    from detectors.decisions.spoken import NORMAL_FILE
    from detectors.runs.predict_files import detect_in_files
    from detectors.runtime.opening import open_predictor

    if out is None and not run.is_dir():
        raise InputError(f"{run}: has no folder of its own; give --out FILE, and the same to predict as --normal")
    watched = watch(open_predictor(run)[0])
    files = find_radiographs(paths)
    with progress(transient=True) as bar:
        seen = bar.track(detect_in_files(watched, files, with_map=False), total=len(files), description="looking")
        features = [findings.features for _, findings in seen]
    found = learn(np.array(features), false_alarms)
    path = out or run / NORMAL_FILE
    write_familiar(path, found)
    console.print(
        f"{found.learned} radiographs learned, {found.held_out} held out: alarm above a distance of "
        f"{found.threshold:.2f}, for at most {false_alarms:.0%} of radiographs like them"
    )
    console.print(f"wrote {path}")
