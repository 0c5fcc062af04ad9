"""DICOM files for tests: any header, and a digital detector's film that uses 130 of its 65,536 levels."""

from pathlib import Path

import numpy as np
import pydicom
from pydicom import uid
from pydicom.dataset import FileMetaDataset

CENTER, WIDTH = 324.5, 119
CAPTION = 65535


def write_dicom(path: Path, values: np.ndarray, bits: int, *, signed: int = 0, photometric: str = "MONOCHROME2",
                syntax: uid.UID = uid.ExplicitVRLittleEndian, data: bytes | None = None,
                **tags: object) -> pydicom.Dataset:  # fmt: skip
    """Write unsigned or signed [H, W] with BitsStored `bits`; `tags` are set by their keywords."""
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = uid.SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
    dataset.Rows, dataset.Columns = values.shape[:2]
    dataset.BitsAllocated = values.dtype.itemsize * 8
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, signed
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, photometric
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.PixelData = data or values.tobytes()
    dataset["PixelData"].VR = "OB" if syntax.is_compressed else "OW"
    dataset.save_as(path, enforce_file_format=True)
    return dataset


def dark_levels(seed: int = 0, shape: tuple[int, int] = (120, 160)) -> np.ndarray:
    """Return uint16 [H, W]: a weld's slope from level 262 to 379 with noise, and a caption at full scale."""
    rng = np.random.default_rng(seed)
    slope = np.linspace(262, 379, shape[1])[None] + rng.normal(0, 2.5, shape)
    levels = np.rint(slope).clip(255, 386).astype(np.uint16)
    levels[4:12, 6:60:3] = CAPTION
    return levels


def write_dark_dicom(path: Path, seed: int = 0, **tags: object) -> np.ndarray:
    """Write such a film with its window and its pixel spacing at the detector; return its levels."""
    levels = dark_levels(seed)
    header = {"WindowCenter": CENTER, "WindowWidth": WIDTH, "ImagerPixelSpacing": [0.1, 0.1]} | tags
    write_dicom(path, levels, 16, **header)
    return levels
