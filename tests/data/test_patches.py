"""Patches: which windows are defects, which are negatives, which are neither; and patches on disk."""

import io
import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import patch_files
from data.coco import CocoDataset, read_coco
from data.errors import InputError
from data.patch_datasets import PatchDataset, StoredPatches, collate_patches, jittered
from data.patch_files import PatchSet, read_patches, to_levels, write_patches
from data.patch_folds import parse_fold, same_views, split_folds
from data.patch_windows import DEFECT, IGNORE, NEGATIVE, WindowPose, cut_window, extent, label_window
from data.patches import PatchConfig, RadiographPatches, negative_starts
from data.radiograph import read_radiograph, write_radiograph
from data.transforms import AugmentationConfig

WINDOW = WindowPose(0, 16, 16)  # 32 x 32 pixels from (0, 0)


def label(*box: float, place: WindowPose = WINDOW) -> int:
    return label_window(place, np.array([box], dtype=np.float64), 32)


def make_set(pixels: np.ndarray, labels: list[int], files: list[str] | None = None) -> PatchSet:
    count = len(labels)
    names = np.array(files or [f"{k}.png" for k in range(count)])
    places = np.arange(3 * count, dtype=np.float32).reshape(count, 3)
    return PatchSet(pixels, np.array(labels), names, places, np.array(["real", "gan"] * count)[:count])


def constant_set(levels: list[int], labels: list[int], files: list[str] | None = None) -> PatchSet:
    return make_set(np.full((len(levels), 4, 4), np.array(levels)[:, None, None], dtype=np.uint8), labels, files)


def test_a_third_of_a_defect_is_a_defect_and_less_is_neither() -> None:
    assert label(22, 5, 52, 15) == DEFECT  # 10 of 30 columns
    assert label(22.5, 5, 52.5, 15) == IGNORE
    assert label(8, 8, 12, 12) == DEFECT
    assert label(31, 31, 40, 40) == IGNORE  # one pixel of it
    assert label(32, 0, 40, 8) == NEGATIVE  # touches the edge


def test_a_defect_larger_than_the_window_fills_a_third_of_it() -> None:
    assert label(21, -50, 300, 200) == DEFECT  # 352 of 1,024 pixels
    assert label(22, -50, 300, 200) == IGNORE  # 320
    assert label(-100, -100, 100, 100) == DEFECT
    # Long and thin: a third of as much of it as fits, 32 x 5 pixels.
    assert label(21, 10, 166, 15) == DEFECT  # 55 of 160
    assert label(22, 10, 167, 15) == IGNORE  # 50 of 160


def test_crowds_are_neither_a_negative_nor_a_defect() -> None:
    boxes, crowd = np.array([[4.0, 4, 20, 20]]), np.array([True])
    assert label_window(WINDOW, boxes, 32, ignored=crowd) == IGNORE


def test_patches_are_cut_neither_around_crowds_nor_as_negatives_from_them(tmp_path: Path) -> None:
    levels = np.full((96, 96), 0.4)
    levels[:, 40:] = 0.9  # the crowd region
    levels[20:28, 10:18] = 0.1  # the defect
    write_radiograph(tmp_path / "a.png", levels, 8)
    annotations = [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 20, 8, 8]},
        {"id": 2, "image_id": 1, "category_id": 1, "bbox": [40, 0, 56, 96], "iscrowd": 1},
    ]
    dataset = CocoDataset(
        [{"id": 1, "file_name": "a.png", "width": 96, "height": 96}], annotations, [{"id": 1, "name": "pore"}]
    )
    source = RadiographPatches(dataset, tmp_path, PatchConfig(size=16, rotation_step=None, on_object=0))
    for seed in range(60):
        rng = np.random.default_rng(seed)
        assert source.sample(NEGATIVE, rng).max() < 0.5
        assert source.sample(DEFECT, rng).min() < 0.2


def test_one_of_several_defects_is_enough() -> None:
    boxes = np.array([[31.0, 31, 50, 50], [4, 4, 8, 8]])
    assert label_window(WINDOW, boxes, 32) == DEFECT
    assert label_window(WINDOW, np.zeros((0, 4)), 32) == NEGATIVE


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 359), st.booleans(), st.floats(30, 60), st.floats(30, 60), st.integers(2, 40), st.integers(2, 40))
def test_a_turned_window_holds_what_its_label_says(
    angle: float, mirrored: bool, x: float, y: float, width: int, height: int
) -> None:
    """The pixels cut and the area counted are those of one window."""
    box = np.array([[40.0, 35, 40 + width, 35 + height]])
    levels = np.zeros((96, 96), dtype=np.uint8)
    levels[35 : 35 + height, 40 : 40 + width] = 255
    place = WindowPose(0, x, y, angle, mirrored)
    held = cut_window(levels, place, 32).sum() / min(width, 32) / min(height, 32)
    blurred = 2 * (width + height) / min(width, 32) / min(height, 32)  # half a pixel around the box's edge
    found = label_window(place, box, 32)
    if held > 1 / 3 + blurred:
        assert found == DEFECT
    if held < 1 / 3 - blurred:
        assert found != DEFECT


def test_upright_windows_keep_their_values_and_turned_ones_show_no_black_corner() -> None:
    levels = np.random.default_rng(0).integers(0, 65536, (50, 40)).astype(np.uint16)
    inside = levels[10:26, 5:21].astype(np.float32) / 65535
    assert np.array_equal(cut_window(levels, WindowPose(0, 13, 18), 16), inside)
    assert np.array_equal(cut_window(levels, WindowPose(0, 13, 18, 0, True), 16), inside[:, ::-1])
    assert np.array_equal(cut_window(levels, WindowPose(0, 13, 18, 180), 16), inside[::-1, ::-1])
    # The window is turned clockwise, so that what it shows turns the other way.
    assert np.abs(cut_window(levels, WindowPose(0, 13, 18, 90), 16) - np.rot90(inside)).max() < 1e-4
    bright = np.full((40, 40), 200, dtype=np.uint8)
    for angle in range(0, 360, 30):
        patch = cut_window(bright, WindowPose(0, 16, 24, angle), 32)
        assert np.abs(patch - 200 / 255).max() < 1e-6


def test_the_square_around_a_turned_window() -> None:
    assert extent(32, 0) == extent(32, 180) == 32
    assert extent(32, 60) == 44  # 32 (1/2 + 0.866) = 43.7
    assert extent(31, 60) == 43  # 42.3; odd as the window is
    assert extent(32, 45) == 46  # 45.3


def test_negative_windows_hold_no_annotated_pixel_and_lie_on_the_part(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.full((24, 30), 0.5, dtype=np.float32)
    pixels[:, 18:] = 1.0
    part = np.ones(pixels.shape, dtype=bool)
    part[:6] = False
    monkeypatch.setattr("data.patches.segment_test_object", lambda _: part)
    box = np.array([[3.4, 12.2, 6.6, 15.0]])
    config = PatchConfig(size=8, rotation_step=None, on_object=0.75, saturated=0.25)
    found = negative_starts(pixels, box, config)
    expected = []
    for y in range(24 - 8 + 1):
        for x in range(30 - 8 + 1):
            meets = x < 7 and x + 8 > 3 and y < 15 and y + 8 > 12  # whole pixels of the box
            air = (pixels[y : y + 8, x : x + 8] == 1).mean() > 0.25
            outside = part[y : y + 8, x : x + 8].mean() < 0.75 or not part[y + 4, x + 4]
            if not (meets or air or outside):
                expected.append(y * 30 + x)
    assert list(found) == [8]
    assert found[8].tolist() == expected
    assert 0 < len(expected) < 17 * 23


@pytest.fixture(scope="module")
def on_castings(castings: Path) -> RadiographPatches:
    return RadiographPatches(read_coco(castings), castings.parent, PatchConfig(size=16, per_image=10))


def test_patches_of_radiographs_keep_the_rules(on_castings: RadiographPatches, castings: Path) -> None:
    dataset = read_coco(castings)
    boxes = {}
    for image in dataset.images:
        bbox = np.array([a["bbox"] for a in dataset.annotations_of(image["id"])]).reshape(-1, 4)
        boxes[image["file_name"]] = np.hstack([bbox[:, :2], bbox[:, :2] + bbox[:, 2:]])
    patches = on_castings.sample_set(0)
    assert np.bincount(patches.labels).tolist() == [60, 60]
    assert len(np.unique(patches.places[:, 2])) == 6
    for name, (x, y, angle), truth in zip(patches.files, patches.places.tolist(), patches.labels, strict=True):
        assert label_window(WindowPose(0, x, y, angle), boxes[str(name)], 16) == truth
    upright = (patches.places[:, 2] == 0) & (patches.labels == 1)
    first = int(np.flatnonzero(upright)[0])
    x, y = (patches.places[first, :2] - 8).astype(int)
    values = read_radiograph(castings.parent / str(patches.files[first])).pixels[y : y + 16, x : x + 16]
    assert any(np.array_equal(patches.floats(first), v) for v in (values, values[:, ::-1]))


def test_the_choice_depends_on_the_seed_alone(on_castings: RadiographPatches) -> None:
    first, again, other = (on_castings.sample_set(seed, per_class=5) for seed in (0, 0, 1))
    assert np.array_equal(first.pixels, again.pixels)
    assert not np.array_equal(first.pixels, other.pixels)
    assert len(first) == 10


def test_radiographs_smaller_than_a_window_and_defects_larger_than_it(tmp_path: Path) -> None:
    for name, size in (("small.png", (20, 24)), ("large.png", (90, 90))):
        write_radiograph(tmp_path / name, np.random.default_rng(1).random(size[::-1]).astype(np.float32) * 0.9)
    images = [
        {"id": 1, "file_name": "small.png", "width": 20, "height": 24},
        {"id": 2, "file_name": "large.png", "width": 90, "height": 90},
    ]
    boxes = {1: [5, 5, 8, 8], 2: [10, 10, 79, 79]}
    annotations = [{"id": k, "image_id": k, "category_id": 1, "bbox": box} for k, box in boxes.items()]
    dataset = CocoDataset(images, annotations, [{"id": 1, "name": "defect"}])
    source = RadiographPatches(dataset, tmp_path, PatchConfig(size=32))
    assert source.has(1)
    assert not source.has(0)
    for seed in range(20):
        patch = source.sample(1, np.random.default_rng(seed))
        assert patch.shape == (32, 32)
        assert patch.max() > 0
    with pytest.raises(InputError, match="no no-defect patch"):
        source.sample_set(0)


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


def test_folds_are_balanced_and_keep_views_of_one_place_together() -> None:
    files = [f"class_{k % 2}/p{k // 6}_r{60 * (k % 6)}.png" for k in range(240)]
    patches = constant_set([k % 256 for k in range(240)], [k % 2 for k in range(240)], files)
    fold = split_folds(patches, 5, group_views=False)
    assert np.array_equal(fold, split_folds(patches, 5, group_views=False))
    for k in range(1, 6):
        assert np.bincount(patches.labels[fold == k]).tolist() == [24, 24]
    for place in {name.split("_r")[0] for name in files}:
        members = [fold[k] for k, name in enumerate(files) if name.startswith(place + "_")]
        assert len(set(members)) == 1


def test_patches_of_one_radiograph_share_a_fold() -> None:
    files = [f"C0001_{k % 4:04d}.png" for k in range(40)]
    fold = split_folds(constant_set(list(range(0, 200, 5)), [k % 2 for k in range(40)], files), 2)
    assert {len(set(fold[k::4])) for k in range(4)} == {1}
    with pytest.raises(InputError, match="2 radiographs or places cannot be split into 5 folds"):
        split_folds(constant_set([1, 200], [0, 1]), 5)


def test_views_of_one_place_are_found_in_the_pixels_and_share_a_fold() -> None:
    rng = np.random.default_rng(0)
    places = rng.integers(0, 250, (12, 8, 8)).astype(np.uint8)
    views = [np.rot90(p[:, ::-1] if m else p, k) + (rng.random((8, 8)) < 0.3)
             for p in places for m in (0, 1) for k in range(4)]  # fmt: skip
    patches = make_set(np.stack(views).astype(np.uint8), [k // 8 % 2 for k in range(96)])
    first, second = same_views(patches.floats(slice(None)))
    assert set(zip(first.tolist(), second.tolist(), strict=True)) == {
        (a, b) for a in range(96) for b in range(a + 1, 96) if a // 8 == b // 8
    }
    fold = split_folds(patches, 3)
    assert {len(set(fold[k : k + 8])) for k in range(0, 96, 8)} == {1}
    assert np.bincount(fold)[1:].tolist() == [32, 32, 32]
    apart = split_folds(patches, 3, group_views=False)
    assert max(len(set(apart[k : k + 8])) for k in range(0, 96, 8)) == 3


@pytest.mark.parametrize("text", ["0/5", "6/5", "1/1", "one", "1/5/2", "-1/5"])
def test_a_fold_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not k/n"):
        parse_fold(text)
    with pytest.raises(ValueError, match="is not k/n"):
        PatchConfig(validation_fold=text)


def test_every_stored_patch_is_drawn_once_an_epoch_and_classes_are_balanced() -> None:
    source = StoredPatches(constant_set(list(range(1, 11)), [0] * 7 + [1] * 3))
    dataset = PatchDataset([source], [1.0], PatchConfig(size=4))
    patches, labels, indices = collate_patches([dataset[k] for k in range(len(dataset))])
    assert patches.shape == (14, 1, 4, 4)
    assert indices.tolist() == list(range(14))
    assert int(labels.sum()) == 7
    levels = (patches[:, 0, 0, 0] * 255).round().int()
    assert sorted(levels[labels == 0].tolist()) == list(range(1, 8))
    assert set(levels[labels == 1].tolist()) == {8, 9, 10}
    with pytest.raises(IndexError):
        dataset[14]


def test_sources_take_their_shares_of_each_class() -> None:
    """E75G25: three quarters of the defects from one file, the no-defect patches from a third one."""
    sources = [
        StoredPatches(constant_set([10], [0])),
        StoredPatches(constant_set([20], [1])),
        StoredPatches(constant_set([30], [1])),
    ]
    dataset = PatchDataset(sources, [1.0, 0.75, 0.25], PatchConfig(size=4), length=800, seed=3)
    patches, labels, _ = collate_patches([dataset[k] for k in range(800)])
    levels = (patches[:, 0, 0, 0] * 255).round().int()
    assert set(levels[labels == 0].tolist()) == {10}
    ellipsoids = (levels[labels == 1] == 20).float().mean()
    assert 0.68 < float(ellipsoids) < 0.82
    with pytest.raises(InputError, match="no no-defect patch"):
        PatchDataset(sources[1:], [1.0, 1.0], PatchConfig(size=4))


def test_a_sample_depends_on_seed_epoch_and_index() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 16)).astype(np.uint8)
    config = PatchConfig(size=16, jitter_rotation=20, jitter_shift=2, jitter_zoom=0.1)
    augmentation = AugmentationConfig(horizontal_flip=0.5, rotate90=1.0, noise=0.02)
    first, again = (
        PatchDataset([StoredPatches(make_set(pixels, [0, 1]))], [1.0], config, augmentation, 40, seed=4)
        for _ in range(2)
    )
    assert np.array_equal(first[7][0], again[7][0])
    assert not np.array_equal(first[7][0], first[9][0])
    again.set_epoch(1)
    assert not np.array_equal(first[7][0], again[7][0])
    with pytest.raises(InputError, match="change a patch's size"):
        PatchDataset([StoredPatches(make_set(pixels, [0, 1]))], [1.0], config, AugmentationConfig(scale=(0.5, 2)))


def test_jitter_moves_by_what_it_says_and_reflects() -> None:
    pixels = np.zeros((33, 33), dtype=np.float32)
    pixels[14:19, 14:19] = 1.0
    rng = np.random.default_rng(0)
    moved = [jittered(pixels, PatchConfig(jitter_shift=3), rng) for _ in range(30)]
    grid = np.arange(33)
    centers = np.array([[(m.sum(0) * grid).sum(), (m.sum(1) * grid).sum()] / m.sum() for m in moved]) - 16
    assert np.abs(centers).max() <= 3.001
    assert np.abs(centers).max() > 2
    bright = np.full((32, 32), 0.7, dtype=np.float32)
    wild = PatchConfig(jitter_rotation=45, jitter_shift=5, jitter_zoom=0.3)
    assert np.abs(jittered(bright, wild, rng) - 0.7).max() < 1e-5
    assert jittered(pixels, PatchConfig(), rng) is pixels
    assert math.isclose(float(pixels.sum()), 25)


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


def test_windows_around_defects_at_the_edge_show_nothing_beyond_it(tmp_path: Path) -> None:
    write_radiograph(tmp_path / "a.png", np.full((60, 70), 0.5))
    corners = [[0, 0, 6, 6], [64, 0, 6, 6], [0, 54, 6, 6], [64, 54, 6, 6]]
    boxes = [{"id": k, "image_id": 1, "category_id": 1, "bbox": box} for k, box in enumerate(corners)]
    dataset = CocoDataset([{"id": 1, "file_name": "a.png", "width": 70, "height": 60}], boxes,
                          [{"id": 1, "name": "defect"}])  # fmt: skip
    source = RadiographPatches(dataset, tmp_path, PatchConfig(size=16))
    for seed in range(60):
        _, pose = source.sample_posed(DEFECT, np.random.default_rng(seed))
        half = extent(16, pose.angle) / 2
        assert half <= pose.x <= 70 - half
        assert half <= pose.y <= 60 - half
