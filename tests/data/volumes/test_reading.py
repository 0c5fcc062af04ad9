"""Volumes of every format: what comes back, what stays on the disk, and what is refused with one line."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
import tifffile
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from data.errors import InputError
from data.volumes.reading import read_volume
from data.volumes.writing import SlabWriter, require_space, write_volume

VOXEL = (0.02, 0.01, 0.0125)


def values_of(dtype: type) -> np.ndarray:
    generator = np.random.default_rng(4)
    return generator.integers(0, 200, (7, 9, 11)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("suffix", [".tif", ".npy", ".raw", "", ".h5", ".zarr"])
def test_every_format_comes_back_with_its_type_and_size(tmp_path: Path, suffix: str, dtype: type) -> None:
    if suffix in (".h5", ".zarr"):
        pytest.importorskip({".h5": "h5py", ".zarr": "zarr"}[suffix])
    values = values_of(dtype)
    read = read_volume(write_volume(tmp_path / f"scan{suffix}", values, VOXEL))
    assert read.shape == (7, 9, 11)
    assert read.values.dtype == dtype
    np.testing.assert_array_equal(read.slab(0, 7), values)
    np.testing.assert_array_equal(read.box((1, 2, 3), (4, 9, 8)), values[1:4, 2:9, 3:8])
    if suffix:  # a folder of pictures has no place for it
        assert read.voxel_mm == pytest.approx(VOXEL, rel=1e-5)
    assert read_volume(tmp_path / f"scan{suffix}", 0.5).voxel_mm == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("suffix", [".tif", ".npy", ".raw"])
def test_uncompressed_files_are_memory_mapped(tmp_path: Path, suffix: str) -> None:
    read = read_volume(write_volume(tmp_path / f"scan{suffix}", values_of(np.uint16), VOXEL))
    assert isinstance(read.values, np.memmap)


def test_compressed_tiff_is_decoded_page_by_page(tmp_path: Path) -> None:
    values = values_of(np.uint16)
    tifffile.imwrite(tmp_path / "scan.tif", values, compression="zlib")
    read = read_volume(tmp_path / "scan.tif")
    assert not isinstance(read.values, np.ndarray)
    np.testing.assert_array_equal(read.values[2:5, 1:], values[2:5, 1:])
    assert read.voxel_mm is None


def test_imagej_microns_are_millimeters(tmp_path: Path) -> None:
    metadata = {"axes": "ZYX", "spacing": 20.0, "unit": "um"}
    tifffile.imwrite(tmp_path / "s.tif", values_of(np.uint8), imagej=True, metadata=metadata, resolution=(0.1, 0.05))
    assert read_volume(tmp_path / "s.tif").voxel_mm == pytest.approx((0.02, 0.02, 0.01), rel=1e-5)


def test_big_endian_metaimage(tmp_path: Path) -> None:
    values = values_of(np.uint16)
    values.astype(">u2").tofile(tmp_path / "scan.raw")
    head = ("ObjectType = Image\nNDims = 3\nDimSize = 11 9 7\nElementSpacing = 0.0125 0.01 0.02\n"
            "ElementType = MET_USHORT\nElementByteOrderMSB = True\nElementDataFile = scan.raw\n")  # fmt: skip
    (tmp_path / "scan.mhd").write_text(head)
    read = read_volume(tmp_path / "scan.mhd")
    np.testing.assert_array_equal(read.slab(0, 7), values)
    assert read.voxel_mm == pytest.approx(VOXEL)


def test_slices_go_by_their_numbers_and_not_by_their_names(tmp_path: Path) -> None:
    for number in range(12):
        tifffile.imwrite(tmp_path / f"part7_{number}.tif", np.full((4, 5), number, np.uint8))
    assert read_volume(tmp_path).values[:, 0, 0].tolist() == list(range(12))


def test_a_missing_slice_is_named(tmp_path: Path) -> None:
    for number in (0, 1, 2, 4, 5):
        tifffile.imwrite(tmp_path / f"s_{number:03d}.tif", np.zeros((4, 5), np.uint8))
    with pytest.raises(InputError, match=r"slice 3 is missing between s_002\.tif and s_004\.tif"):
        read_volume(tmp_path)


def test_slices_of_another_size_are_named(tmp_path: Path) -> None:
    for number in range(4):
        tifffile.imwrite(tmp_path / f"s_{number}.tif", np.zeros((4, 5 + (number == 2)), np.uint8))
    with pytest.raises(InputError, match=r"s_2.tif: a slice of 6 x 4 \(uint8\), s_0.tif has 5 x 4"):
        read_volume(tmp_path)


def test_pages_of_different_sizes(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "s.tif") as writer:
        writer.write(np.zeros((4, 5), np.uint8))
        writer.write(np.zeros((6, 5), np.uint8))
    with pytest.raises(InputError, match="pages of different sizes"):
        read_volume(tmp_path / "s.tif")


def test_one_picture_is_no_volume(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "s.tif", np.zeros((40, 50), np.uint8))
    with pytest.raises(InputError, match="stack of two or more"):
        read_volume(tmp_path / "s.tif")


@pytest.mark.parametrize("suffix", [".tif", ".npy", ".raw"])
def test_a_truncated_file_is_refused(tmp_path: Path, suffix: str) -> None:
    path = write_volume(tmp_path / f"scan{suffix}", values_of(np.uint16), VOXEL)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"truncated|corrupt|bytes"):
        read_volume(path)


def test_a_page_that_points_at_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "loop.tif"
    tifffile.imwrite(path, values_of(np.uint8), compression="zlib")
    content = bytearray(path.read_bytes())
    first = int.from_bytes(content[4:8], "little")
    entries = int.from_bytes(content[first : first + 2], "little")
    place = first + 2 + 12 * entries
    content[place : place + 4] = first.to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(InputError, match="lead back"):
        read_volume(path)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"shape": [7, 9, 12]}, "1386 bytes, but scan.json says 7 x 9 x 12 voxels"),
        ({"dtype": "complex64"}, "dtype 'complex64' is not one of"),
        ({"shape": [7, 9]}, "three whole numbers"),
        ({"shape": [7, 9, True]}, "three whole numbers"),
        ({"voxel_mm": [0.1, -1, 0.1]}, "voxel_mm"),
        ({"byte_order": "middle"}, "byte_order"),
        ({"offset": -4}, "offset"),
    ],
)
def test_a_wrong_sidecar_is_named(tmp_path: Path, entry: dict, message: str) -> None:
    path = write_volume(tmp_path / "scan.raw", values_of(np.uint16), VOXEL)
    sidecar = json.loads((tmp_path / "scan.json").read_text())
    (tmp_path / "scan.json").write_text(json.dumps(sidecar | entry))
    with pytest.raises(InputError, match=message):
        read_volume(path)


def test_raw_without_a_sidecar_says_what_to_write(tmp_path: Path) -> None:
    (tmp_path / "scan.raw").write_bytes(b"12345678")
    with pytest.raises(InputError, match=r'write scan.json beside it: \{"shape"'):
        read_volume(tmp_path / "scan.raw")


def test_a_sidecar_names_files_beside_it_only(tmp_path: Path) -> None:
    (tmp_path / "scan.json").write_text(json.dumps({"shape": [1, 1, 1], "dtype": "uint8", "file": "../x.raw"}))
    with pytest.raises(InputError, match="not the name of a file beside it"):
        read_volume(tmp_path / "scan.json")


def test_nan_is_named_by_its_voxel(tmp_path: Path) -> None:
    values = values_of(np.float32)
    values[5, 4, 3] = np.nan
    read = read_volume(write_volume(tmp_path / "scan.tif", values))
    assert read.slab(0, 5).shape == (5, 9, 11)
    with pytest.raises(InputError, match=r"scan.tif: voxel z 5, y 4, x 3 is nan"):
        read.slab(2, 7)


@pytest.mark.parametrize("name", ["a.txt", "a.npy", "a.tif", "a.json", "a.mhd"])
def test_foreign_files_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"no volume at all")
    with pytest.raises(InputError, match=name):
        read_volume(tmp_path / name)


def test_object_arrays_are_not_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="not an NPY array"):
        read_volume(tmp_path / "a.npy")


def write_dicom(folder: Path, number: int, series: str, position: float, **fields: object) -> None:
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    slice_ = pydicom.Dataset()
    slice_.file_meta = meta
    slice_.SOPClassUID, slice_.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    slice_.SeriesInstanceUID, slice_.InstanceNumber = series, number
    slice_.Rows, slice_.Columns, slice_.SamplesPerPixel = 4, 5, 1
    slice_.BitsAllocated = slice_.BitsStored = 16
    slice_.HighBit, slice_.PixelRepresentation, slice_.PhotometricInterpretation = 15, 0, "MONOCHROME2"
    slice_.PixelSpacing, slice_.ImagePositionPatient = [0.3, 0.2], [0, 0, position]
    slice_.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    slice_.PixelData = np.full((4, 5), number, np.uint16).tobytes()
    for name, value in fields.items():
        setattr(slice_, name, value)
    slice_.save_as(folder / f"{generate_uid()}.dcm", enforce_file_format=True)


def test_dicom_slices_are_ordered_by_position_and_rescaled(tmp_path: Path) -> None:
    series = generate_uid()
    for number in (3, 1, 2, 4):
        write_dicom(tmp_path, number, series, -0.5 * number, RescaleSlope=2, RescaleIntercept=-100)
    read = read_volume(tmp_path)
    assert read.voxel_mm == pytest.approx((0.5, 0.3, 0.2))
    assert read.values[:, 0, 0].tolist() == [-92.0, -94.0, -96.0, -98.0]


def test_a_gap_in_a_dicom_series(tmp_path: Path) -> None:
    series = generate_uid()
    for number in (1, 2, 3, 5, 6):
        write_dicom(tmp_path, number, series, 0.5 * number)
    with pytest.raises(InputError, match="a slice is missing between"):
        read_volume(tmp_path)


def test_two_series_in_one_folder(tmp_path: Path) -> None:
    for number in (1, 2):
        write_dicom(tmp_path, number, generate_uid(), 0.5 * number)
    with pytest.raises(InputError, match="keep the slices of one series"):
        read_volume(tmp_path)


def test_a_disk_without_room_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10**7))
    with pytest.raises(InputError, match="GB are free there"):
        require_space(tmp_path, 10**8)
    with pytest.raises(InputError, match="GB are free there"):
        write_volume(tmp_path / "scan.tif", np.broadcast_to(np.uint8(1), (1000, 400, 400)))
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_not_overwritten(tmp_path: Path) -> None:
    write_volume(tmp_path / "scan", values_of(np.uint8))
    with pytest.raises(InputError, match="exists already"):
        write_volume(tmp_path / "scan", values_of(np.uint8))
    assert len(list(tmp_path.iterdir())) == 1


def test_a_stopped_writer_goes_on_where_it_stood(tmp_path: Path) -> None:
    values = values_of(np.float32)
    writer = SlabWriter(tmp_path / "map.npy", values.shape, np.float32, key="weights A")
    writer.append(values[:3])
    again = SlabWriter(tmp_path / "map.npy", values.shape, np.float32, key="weights A")
    assert again.done == 3
    again.append(values[3:])
    np.testing.assert_array_equal(np.load(again.finish()), values)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map.npy", "map.npy.json"]
    assert SlabWriter(tmp_path / "map.npy", values.shape, np.float32, key="weights A").is_whole
    assert not SlabWriter(tmp_path / "map.npy", values.shape, np.float32, key="weights B").is_whole


def test_a_part_of_other_weights_is_begun_anew(tmp_path: Path) -> None:
    values = values_of(np.float32)
    SlabWriter(tmp_path / "map.npy", values.shape, np.float32, key="weights A").append(values[:3])
    assert SlabWriter(tmp_path / "map.npy", values.shape, np.float32, key="weights B").done == 0


def test_half_a_slice_does_not_count(tmp_path: Path) -> None:
    values = values_of(np.float32)
    SlabWriter(tmp_path / "map.npy", values.shape, np.float32, key="A").append(values[:3])
    part = tmp_path / "map.npy.part"
    part.write_bytes(part.read_bytes()[:-10])
    assert SlabWriter(tmp_path / "map.npy", values.shape, np.float32, key="A").done == 2


def test_without_a_key_every_file_is_written_anew(tmp_path: Path) -> None:
    values = values_of(np.float32)
    SlabWriter(tmp_path / "map.npy", values.shape, np.float32).append(values[:3])
    writer = SlabWriter(tmp_path / "map.npy", values.shape, np.float32)
    assert writer.done == 0
    writer.append(values)
    np.testing.assert_array_equal(np.load(writer.finish()), values)
    assert [path.name for path in tmp_path.iterdir()] == ["map.npy"]


def test_a_discarded_file_leaves_nothing(tmp_path: Path) -> None:
    values = values_of(np.float32)
    writer = SlabWriter(tmp_path / "out" / "map.npy", values.shape, np.float32, key="A")
    writer.append(values[:3])
    writer.discard()
    assert list(tmp_path.iterdir()) == []
