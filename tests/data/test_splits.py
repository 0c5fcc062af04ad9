"""Splits: nobody on two sides, everybody accounted for, and the leaks that GDXray has."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.coco import CocoDataset, read_coco
from data.errors import InputError
from data.series import number_of, series_of
from data.splits import Split, parse_frames, split_dataset, write_split


def dataset_of(counts: dict[str, int]) -> CocoDataset:
    """Return images without pixels: `counts` of each series, ids in a shuffled order."""
    names = [(series, number) for series, count in counts.items() for number in range(1, count + 1)]
    images = [
        {"id": (k * 37) % 1009 + 1, "file_name": f"Castings/{series}/{series}_{number:04d}.png", "width": 9,
         "height": 9, "series": series, "number": number} for k, (series, number) in enumerate(names)
    ]  # fmt: skip
    return CocoDataset(images, [], [{"id": 1, "name": "defect"}])


def names_of(dataset: CocoDataset, ids: list[int]) -> set[tuple[str, int]]:
    return {(image["series"], image["number"]) for image in dataset.images if image["id"] in ids}


SERIES = st.dictionaries(st.sampled_from(["C0001", "C0002", "C0003", "C0004", "C0005", "C0006"]), st.integers(8, 30),
                         min_size=4)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(counts=SERIES, method=st.sampled_from(["series", "block", "random", "odd-even", "none"]),
       seed=st.integers(0, 5), gap=st.integers(0, 1))  # fmt: skip
def test_every_image_is_in_one_place(counts, method, seed, gap) -> None:
    dataset = dataset_of(counts)
    split = split_dataset(dataset, method, seed, gap=gap if method == "block" else 0)
    ids = [*split.train, *split.val, *split.test, *split.left_out]
    assert sorted(ids) == sorted(image["id"] for image in dataset.images)
    assert split == split_dataset(dataset, method, seed, gap=gap if method == "block" else 0)
    sides = [{series_of(i) for i in dataset.images if i["id"] in part} for part in split.parts.values()]
    if method == "series":
        assert sum(map(len, sides)) == len(counts)
        assert not any(("C0001" in side) != ("C0002" in side) for side in sides if {"C0001", "C0002"} <= set(counts))
    elif method != "none" and {"C0001", "C0002"} <= set(counts):
        assert not any("C0002" in side for side in sides)
    elif method != "none" and "C0002" in counts:
        assert any("C0002" in side for side in sides)


@settings(max_examples=40, deadline=None)
@given(gap=st.integers(1, 4), frames=st.integers(40, 72))
def test_block_gap_holds_around_the_turntable(gap: int, frames: int) -> None:
    dataset = dataset_of({"C0001": frames})
    split = split_dataset(dataset, "block", gap=gap)
    numbers = {image["id"]: image["number"] for image in dataset.images}
    parts = list(split.parts.values())
    for k, part in enumerate(parts):
        for other in parts[k + 1 :]:
            for a in part:
                for b in other:
                    apart = abs(numbers[a] - numbers[b])
                    assert min(apart, frames - apart) > gap


def test_random_fractions_and_seeds() -> None:
    dataset = dataset_of({"C0003": 100})
    first, second = (split_dataset(dataset, "random", seed) for seed in (0, 1))
    assert [len(part) for part in first.parts.values()] == [70, 15, 15]
    assert first.test != second.test
    assert list(split_dataset(dataset, "random", fractions=(0.8, 0, 0.2)).parts) == ["train", "test"]


def test_block_with_explicit_frames() -> None:
    dataset = dataset_of({"C0001": 72, "C0002": 90})
    split = split_dataset(dataset, "block", train_frames=(1, 58), test_frames=(59, 72))
    assert names_of(dataset, split.test) == {("C0001", n) for n in range(59, 73)}
    assert names_of(dataset, split.val) == {("C0001", n) for n in range(49, 59)}  # 58 * 0.15 / 0.85 = 10.2
    assert names_of(dataset, split.train) == {("C0001", n) for n in range(1, 49)}
    gapped = split_dataset(dataset, "block", train_frames=(1, 58), test_frames=(59, 72), gap=2)
    assert names_of(dataset, gapped.test) == names_of(dataset, split.test)
    assert names_of(dataset, gapped.train) == {("C0001", n) for n in range(3, 47)}  # 1 and 2 follow 72
    assert any("C0002 is left out" in note for note in split.notes)


def test_odd_even() -> None:
    dataset = dataset_of({"C0003": 20})
    split = split_dataset(dataset, "odd-even")
    assert names_of(dataset, split.test) == {("C0003", n) for n in range(2, 21, 2)}
    assert len(split.val) == 2


def test_series_split_is_near_the_fractions() -> None:
    dataset = dataset_of({f"C{n:04d}": 10 for n in range(3, 23)})
    for seed in range(5):
        assert [len(part) for part in split_dataset(dataset, "series", seed).parts.values()] == [140, 30, 30]


def test_lists(tmp_path: Path) -> None:
    dataset = dataset_of({"C0001": 6, "C0002": 4})
    train, test = tmp_path / "train.txt", tmp_path / "test.txt"
    train.write_text("# published\nC0001_0001.png\nC0001_0002\nCastings/C0001/C0001_0003.png\nC0001_0004\n")
    test.write_text("some/where/C0002_0001.png\n\n")
    split = split_dataset(dataset, "lists", fractions=(0.6, 0.2, 0.2), train_list=train, test_list=test)
    assert (len(split.train), len(split.val), len(split.left_out)) == (3, 1, 5)
    assert names_of(dataset, split.test) == {("C0002", 1)}
    assert any("cut out of C0001" in note for note in split.notes)
    test.write_text("C0009_0001.png\n")
    with pytest.raises(InputError, match=r"test\.txt, line 1: C0009_0001\.png: no image"):
        split_dataset(dataset, "lists", train_list=train, test_list=test)
    test.write_text("C0001_0001.png\n")
    with pytest.raises(InputError, match="on both lists"):
        split_dataset(dataset, "lists", train_list=train, test_list=test)


@pytest.mark.parametrize(("method", "options", "problem"), [
    ("series", {}, "2 series cannot fill"), ("random", {"fractions": (0.99, 0.01, 0)}, "val part would be empty"),
    ("random", {"fractions": (0.5, 0.1, 0.1)}, "sum to 1"), ("folds", {}, "unknown split 'folds'"),
    ("random", {"gap": 1}, "belong to the split 'block'"), ("block", {"train_frames": (1, 5)}, "both parts"),
    ("block", {"train_frames": (1, 5), "test_frames": (5, 8)}, "overlap"),
    ("block", {"train_frames": (1, 5), "test_frames": (50, 80)}, "test part would be empty"),
    ("lists", {}, "two lists"),
])  # fmt: skip
def test_impossible_splits_are_refused(method: str, options: dict, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        split_dataset(dataset_of({"C0003": 10, "C0004": 10}), method, **options)


def test_images_without_gdxrays_keys_go_by_their_names() -> None:
    assert series_of({"id": 1, "file_name": "batch4/part_012.tif"}) == "batch4"
    assert number_of({"id": 1, "file_name": "batch4/part_012.tif"}) == 12
    with pytest.raises(InputError, match="has no number"):
        number_of({"id": 1, "file_name": "batch4/part.tif"})


def test_frames() -> None:
    assert parse_frames("1-58") == (1, 58)
    with pytest.raises(InputError, match="'58'"):
        parse_frames("58")


def test_writing_refuses_files_of_another_split(tmp_path: Path) -> None:
    dataset = dataset_of({"C0003": 10})
    write_split(tmp_path, dataset, "random", split_dataset(dataset, "random", fractions=(0.6, 0.2, 0.2)))
    assert len(read_coco(tmp_path / "val.json").images) == 2
    with pytest.raises(InputError, match=r"val\.json: left from another split"):
        write_split(tmp_path, dataset, "random", split_dataset(dataset, "random", fractions=(0.8, 0, 0.2)))
    with pytest.raises(InputError, match="left from another split"):
        write_split(tmp_path, dataset, "none", Split(train=[1]))


@pytest.mark.parametrize(
    "name", ["Castings/{0}/{0}_{1:04d}.png", "all/{0}_{1:04d}.tif", "{0}_{1}.png", "{0}/film{1}.png"]
)
def test_what_is_cut_out_of_a_series_stays_with_it_without_the_key_series(name: str) -> None:
    series = ("C0001", "C0002", "C0003", "C0004")
    images = [{"id": 100 * k + n, "file_name": name.format(s, n), "width": 9, "height": 9}
              for k, s in enumerate(series) for n in range(1, 21)]  # fmt: skip
    dataset = CocoDataset(images, [], [{"id": 1, "name": "defect"}])
    for seed in range(4):
        split = split_dataset(dataset, "series", seed)
        sides = [{series[identity // 100] for identity in ids} for ids in split.parts.values()]
        assert sum(map(len, sides)) == 4  # each series on one side
        assert all(("C0001" in side) == ("C0002" in side) for side in sides)
    split = split_dataset(dataset, "block", gap=1)
    assert {identity // 100 for identity in split.left_out} >= {1}
    assert any("C0002 is left out" in note for note in split.notes)
    assert {1, 20} - {*split.train, *split.val, *split.test}  # the turntable's first and last frames are neighbors
