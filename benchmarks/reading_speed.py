#!/usr/bin/env python3
"""Processor milliseconds that one radiograph takes to read: PNG and TIFF of 8 and 16 bits, DICOM of 12.

python benchmarks/reading_speed.py [--size 2048x1536] [--repeat 15]
"""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
import numpy as np
import pydicom
import tifffile
from pydicom import uid
from pydicom.dataset import FileMetaDataset

from data.radiograph import read_radiograph, write_radiograph


def write_dicom(path: Path, values: np.ndarray) -> None:
    """Write uint16 [H, W] as an uncompressed DICOM file of 12 bits stored."""
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = uid.SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = uid.generate_uid()
    dataset.Rows, dataset.Columns = values.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.PixelData = values.tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.save_as(path, enforce_file_format=True)


def milliseconds(task: Callable[[], object], repeat: int) -> float:
    """Return the least processor time of a call, which other programs on the machine disturb little."""
    times = []
    for _ in range(repeat):
        start = time.process_time()
        task()
        times.append(1000 * (time.process_time() - start))
    return min(times)


@click.command()
@click.option("--size", default="2048x1536", show_default=True, help="WIDTHxHEIGHT in pixels.")
@click.option("--repeat", default=15, show_default=True)
def main(size: str, repeat: int) -> None:
    """Print the processor milliseconds to read a radiograph of each kind."""
    width, height = map(int, size.split("x"))
    rng = np.random.default_rng(0)
    # Smooth with noise of a few levels of 12 bits, as detectors give: neither trivially compressible nor pure noise.
    slope = (
        np.linspace(0.2, 0.7, width, dtype=np.float32)[None] + np.linspace(0, 0.2, height, dtype=np.float32)[:, None]
    )
    pixels = np.clip(slope + rng.normal(0, 0.002, (height, width)).astype(np.float32), 0, 1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        values = np.rint(pixels * 65535).astype(np.uint16)
        write_radiograph(root / "png, 8 bits.png", pixels, 8)
        write_radiograph(root / "png, 16 bits.png", pixels, 16)
        write_radiograph(root / "tiff deflate, 16 bits.tif", pixels, 16)
        tifffile.imwrite(root / "tiff raw, 16 bits.tif", values, photometric="minisblack")
        write_dicom(root / "dicom raw, 12 bits.dcm", values >> 4)
        for path in sorted(root.iterdir()):
            print(f"{path.stem:24s} {milliseconds(partial(read_radiograph, path), repeat):8.1f} ms")


if __name__ == "__main__":
    main()
