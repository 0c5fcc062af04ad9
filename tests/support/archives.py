"""A small archive of radiographs with a tiny exported model, and what predicting on it leaves."""

from pathlib import Path

import imagecodecs
import numpy as np
from click.testing import CliRunner, Result
from exported_models import TINY_CENTER_NET, export_model

from detectors.boxes.center_net import CenterNetConfig
from radiograph.cli import main

COUNT, PART = 23, 4  # radiographs of the archive that tests share, and of a part of what is found in it


def export_tiny(folder: Path) -> Path:
    """Export a tiny detector with random weights; return its folder."""
    export_model(folder, CenterNetConfig(**TINY_CENTER_NET))
    return folder / "exported"


def encoded(seed: int, size: tuple[int, int] = (32, 48)) -> bytes:
    """Return a PNG of this height and width with a bright spot in noise."""
    rng = np.random.default_rng(seed)
    pixels = rng.normal(120, 6, size)
    y, x = rng.integers(6, size[0] - 6), rng.integers(6, size[1] - 6)
    pixels[y - 3 : y + 4, x - 3 : x + 4] += 60
    return bytes(imagecodecs.png_encode(pixels.clip(0, 255).astype(np.uint8)))


def write_archive(folder: Path, count: int) -> Path:
    """Write that many radiographs into two sub-folders."""
    for index in range(count):
        path = folder / "ab"[index % 2] / f"{index:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(index))
    return folder


def parts_of(out: Path) -> dict[str, bytes]:
    """Return the bytes of all results that must not depend on how they came about."""
    lists = [*out.glob("unreadable/*"), *out.glob("warnings/*"), out / "unreadable.csv", out / "warnings.csv"]
    names = [*out.glob("detections/*"), *lists, out / "manifest.json"]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in names}


def predict(model: Path, archive: Path | str, out: Path, *more: object) -> Result:
    """Run the command on an archive in this process."""
    arguments = ["--run", model, "--archive", "--workers", 1, "--part-size", PART, "--out", out, archive, *more]
    result = CliRunner().invoke(main, ["predict", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result
