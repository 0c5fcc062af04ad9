"""Patches on disk: they come back as they were, and what cannot be is refused."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from patch_sets import constant_set, make_set

from data import patch_files
from data.errors import InputError
from data.patch_files import read_patches, to_levels, write_patches
from data.radiograph import read_radiograph, write_radiograph


@pytest.mark.parametrize("bits", [8, 16])
def test_patch_files_come_back_as_they_were(tmp_path: Path, bits: int) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 2**bits, (6, 5, 5)).astype(np.uint8 if bits == 8 else np.uint16)
    patches = make_set(pixels, [0, 1, 1, 0, 1, 0], ["a.png", "b.png", "a.png", "c.png", "a.png", "b.png"])
    write_patches(tmp_path / "p.npz", patches)
    found = read_patches(tmp_path / "p.npz", 5)
    assert found.pixels.dtype == pixels.dtype
    for name in ("pixels", "labels", "files", "places", "origins"):
        assert np.array_equal(getattr(found, name), getattr(patches, name)), name
    assert [file.name for file in tmp_path.iterdir()] == ["p.npz"]


def test_folders_of_both_depths_keep_their_values(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    written = rng.random((2, 8, 8)).astype(np.float32)
    write_radiograph(tmp_path / "class_0" / "a.png", written[0], 8)
    write_radiograph(tmp_path / "class_1" / "b.png", written[1], 16)
    patches = read_patches(tmp_path)
    assert patches.labels.tolist() == [0, 1]
    assert patches.files.tolist() == ["class_0/a.png", "class_1/b.png"]
    for k, file in enumerate(patches.files):
        assert np.array_equal(patches.floats(k), read_radiograph(tmp_path / str(file)).pixels)
    assert to_levels(np.float32([[0, 1 / 15, 1]]), 4).tolist() == [[0, 17, 255]]


def test_what_is_wrong_with_patches_is_said_in_words(tmp_path: Path) -> None:
    def write(name: str, *shape: int) -> None:
        write_radiograph(tmp_path / name, np.zeros(shape, dtype=np.float32))

    with pytest.raises(InputError, match=r"none\.npz: no such patch file"):
        read_patches(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("no")
    with pytest.raises(InputError, match=r"text\.npz: not a patch file"):
        read_patches(tmp_path / "text.npz")
    write("data/train/class_0/a.png", 8, 8)
    with pytest.raises(InputError, match=r"data: no folder class_0 .* its folders: train"):
        read_patches(tmp_path / "data")
    with pytest.raises(InputError, match=r"train: its patches are 8 x 8 pixels, but data\.patches\.size is 32"):
        read_patches(tmp_path / "data" / "train", 32)
    write("data/train/class_1/b.png", 8, 9)
    with pytest.raises(InputError, match=r"class_1/b\.png: 9 x 8 pixels"):
        read_patches(tmp_path / "data" / "train")
    wrong = constant_set([1, 2], [0, 2])
    write_patches(tmp_path / "wrong.npz", wrong)
    with pytest.raises(InputError, match="patch 1 has label 2"):
        read_patches(tmp_path / "wrong.npz")
    with pytest.raises(InputError, match=r"written as \.npz"):
        write_patches(tmp_path / "p.png", wrong)


PATCH_FILE = {
    "pixels": np.zeros((4, 8, 8), np.uint8), "labels": np.array([0, 1, 0, 1]), "files": np.array(["a", "b"]),
    "file_index": np.array([0, 1, 0, 1]), "places": np.zeros((4, 3), np.float32), "origins": np.array(["real"]),
    "origin_index": np.zeros(4, np.int32),
}  # fmt: skip


@pytest.mark.parametrize(("column", "value", "problem"), [
    ("labels", np.array([-1, 1, 0, 1]), "patch 0 has label -1"),
    ("labels", np.array([0, 1, 2, 1]), "patch 2 has label 2"),
    ("labels", np.array([0, np.nan, 0, 1]), "labels are float64"),
    ("labels", np.array(list("abcd")), "labels are <U1"),
    ("labels", np.array(1), r"for labels \[\]"),
    ("labels", np.array([0, 1, 0]), r"for labels \[3\]"),
    ("pixels", np.zeros((4, 8, 7), np.uint8), r"\[4, 8, 7\]"),
    ("pixels", np.zeros((4, 8, 8), np.float32), "float32"),
    ("pixels", np.zeros((4, 0, 0), np.uint8), r"\[4, 0, 0\]"),
    ("pixels", np.array([int, 1, 2, 3], dtype=object), "object"),
    ("places", np.zeros((4, 2), np.float32), r"places float32 \[4, 2\]"),
    ("places", np.array([["a"] * 3] * 4), "places <U1"),
    ("file_index", np.full(4, 7), "into 2 names"),
    ("file_index", np.full(4, -1), "into 2 names"),
    ("origin_index", np.zeros(4), "float64"),
    ("origin_index", np.zeros(3, np.int32), r"int32 \[3\]"),
    ("files", np.array(3), r"names int64 \[\]"),
    ("origins", np.zeros((1, 1), "<U4"), r"names <U4 \[1, 1\]"),
])  # fmt: skip
def test_patch_files_that_cannot_be_are_refused(tmp_path: Path, column: str, value: np.ndarray, problem: str) -> None:
    np.savez(tmp_path / "good.npz", **PATCH_FILE)
    assert read_patches(tmp_path / "good.npz").files.tolist() == ["a", "b", "a", "b"]
    np.savez(tmp_path / "bad.npz", **PATCH_FILE | {column: value})
    with pytest.raises(InputError, match=rf"bad\.npz: .*{problem}"):
        read_patches(tmp_path / "bad.npz")


def test_patch_files_cut_short_or_changed_are_refused(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (4, 8, 8)).astype(np.uint8)
    np.savez_compressed(tmp_path / "good.npz", **PATCH_FILE | {"pixels": pixels})
    content = (tmp_path / "good.npz").read_bytes()
    changed = bytearray(content)
    changed[200] ^= 8
    for bad in (content[:-50], content[:300], b"", b"PK", bytes(changed)):
        (tmp_path / "bad.npz").write_bytes(bad)
        with pytest.raises(InputError, match=r"bad\.npz: not a patch file"):
            read_patches(tmp_path / "bad.npz")


def test_a_patch_file_that_promises_more_than_it_holds_is_refused_before_memory_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(pixels: bytes, problem: str) -> None:
        with zipfile.ZipFile(tmp_path / "bad.npz", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, value in PATCH_FILE.items():
                stream = io.BytesIO()
                np.save(stream, value)
                archive.writestr(f"{name}.npy", pixels if name == "pixels" else stream.getvalue())
        with pytest.raises(InputError, match=rf"not a patch file \(.*{problem}"):
            read_patches(tmp_path / "bad.npz")

    for count in (3, 5, 10**9, 10**30):
        stream = io.BytesIO()
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, 8, 8)}
        np.lib.format.write_array_header_1_0(stream, header)
        refused(stream.getvalue() + bytes(4 * 8 * 8), rf"uint8 \[{count}, 8, 8\]")
    monkeypatch.setattr(patch_files, "HARMLESS_BYTES", 2**20)
    stream = io.BytesIO()
    np.save(stream, np.zeros((2**15, 8, 8), np.uint8))
    refused(stream.getvalue(), "times its own size")
