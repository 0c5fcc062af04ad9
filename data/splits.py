"""Split a COCO data set into train, val and test, so that what must stay together does.

Radiographs of one series show the same part, often a few degrees turned: a split inside a series (random,
odd-even, block) evaluates on parts the model has seen. Splits by series do not.

Two facts of GDXray are built in. C0002 is cut out of C0001: by series the two go together, and splits
inside a series leave C0002 out where C0001 is there. C0001 is a turntable: its last frame is next to its
first, and the gap of a block split runs across.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data.coco import CocoDataset, write_coco
from data.errors import InputError
from data.records import ImageRecord
from data.series import number_of, series_of

METHODS = ("none", "series", "block", "random", "odd-even", "lists")
FRACTIONS = (0.70, 0.15, 0.15)
DERIVED_FROM = {"C0002": "C0001"}
TURNTABLES = ("C0001",)


@dataclass
class Split:
    """Image ids of the parts; `left_out` are in none of them, and `notes` say in words why, and what leaks."""

    train: list[int] = field(default_factory=list)
    val: list[int] = field(default_factory=list)
    test: list[int] = field(default_factory=list)
    left_out: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def parts(self) -> dict[str, list[int]]:
        """The parts that hold images, by name: train, val, test."""
        return {name: ids for name in ("train", "val", "test") if (ids := getattr(self, name))}


def split_dataset(dataset: CocoDataset, method: str, seed: int = 0, fractions: tuple[float, float, float] = FRACTIONS,
                  *, train_frames: tuple[int, int] | None = None, test_frames: tuple[int, int] | None = None,
                  gap: int = 0, train_list: Path | None = None, test_list: Path | None = None) -> Split:  # fmt: skip
    """Split a data set; every image is in exactly one of train, val, test, left_out, in the data set's order.

    `method`: "series" (whole series, as near to the fractions as they allow), "block" (contiguous blocks
    inside each series, or the frame numbers `train_frames` and `test_frames`, both ends included; `gap`
    frames between two parts are left out of the earlier part of train, val, test), "random" (image by
    image), "odd-even" (odd numbers train, even test), "lists" (text files of file names), "none" (all is
    train). Where the test part is given, val is its share of the rest. `fractions` of train, val, test sum
    to 1; val or test may be 0. The images' keys `series` and `number` are used, or else their folder and the
    digits at the end of their names. Raises InputError, also for a part that would be empty.
    """
    if method not in METHODS:
        raise InputError(f"unknown split {method!r}; expected one of {', '.join(METHODS)}")
    _check_fractions(fractions)
    if method == "none":
        return Split(train=[image["id"] for image in dataset.images])
    _check_options(method, train_frames, test_frames, gap, train_list, test_list)
    rng = np.random.default_rng(seed)
    kept, split = dataset.images, Split()
    if method in ("random", "odd-even", "block"):
        kept = _without_derived(dataset.images, split)
    if method == "series":
        _by_series(kept, fractions, rng, split)
    elif method == "random":
        _assign(split, [kept[k] for k in rng.permutation(len(kept))], _counts(len(kept), fractions))
        split.notes.append("random: neighboring radiographs of a series lie on two sides; scores are optimistic")
    elif method == "odd-even":
        split.test = [image["id"] for image in kept if number_of(image) % 2 == 0]
        _val_by_chance(split, [image["id"] for image in kept if number_of(image) % 2], fractions, rng)
        split.notes.append("odd-even: neighboring radiographs of a series lie on two sides; scores are optimistic")
    elif method == "block":
        _by_block(kept, fractions, train_frames, test_frames, gap, split)
    elif train_list is not None and test_list is not None:
        _by_lists(kept, fractions, rng, train_list, test_list, split)
    wanted = {name for name, share in zip(("train", "val", "test"), fractions, strict=True) if share > 0}
    if method in ("odd-even", "lists") or test_frames:
        wanted.add("test")
    return _finished(split, dataset, wanted)


def write_split(out: str | Path, dataset: CocoDataset, method: str, split: Split) -> dict[Path, CocoDataset]:
    """Write `all.json` for the method "none", else `train.json`, `val.json`, `test.json`, in the folder `out`.

    Returns what was written by path. A part's file in `out` that this split does not write would belong to
    another split, and leak: InputError.
    """
    names = {"train": "all"} if method == "none" else {name: name for name in split.parts}
    written = {Path(out) / f"{file}.json": getattr(split, part) for part, file in names.items()}
    stale = [path for name in ("all", "train", "val", "test") if (path := Path(out) / f"{name}.json").exists()
             and path not in written]  # fmt: skip
    if stale:
        raise InputError(f"{stale[0]}: left from another split; remove it or choose another folder")
    datasets = {}
    for path, ids in written.items():
        part = dataset.subset(ids)
        part.info = {**part.info, "split": method, "part": path.stem}
        write_coco(path, part)
        datasets[path] = part
    return datasets


def parse_frames(text: str) -> tuple[int, int]:
    """Return first and last frame of a range such as "1-58". Raises InputError."""
    first, dash, last = text.partition("-")
    if not (dash and first.strip().isdecimal() and last.strip().isdecimal()):
        raise InputError(f"frames {text!r}: expected a range such as 1-58")
    return int(first), int(last)


def _check_fractions(fractions: tuple[float, float, float]) -> None:
    if len(fractions) != 3 or min(fractions) < 0 or fractions[0] <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise InputError(f"fractions {fractions}: need three of train, val, test that sum to 1, with some for train")


def _check_options(method: str, train_frames: tuple[int, int] | None, test_frames: tuple[int, int] | None, gap: int,
                   train_list: Path | None, test_list: Path | None) -> None:  # fmt: skip
    if method != "block" and (train_frames or test_frames or gap):
        raise InputError(f"frames and gap belong to the split 'block', not to {method!r}")
    if (train_frames is None) != (test_frames is None):
        raise InputError("give the frames of both parts, train and test, or of neither")
    for name, frames in (("train", train_frames), ("test", test_frames)):
        if frames and frames[0] > frames[1]:
            raise InputError(f"{name} frames {frames[0]}-{frames[1]}: the first comes after the last")
    if train_frames and test_frames and train_frames[0] <= test_frames[1] and test_frames[0] <= train_frames[1]:
        raise InputError(f"train frames {train_frames[0]}-{train_frames[1]} and test frames "
                         f"{test_frames[0]}-{test_frames[1]} overlap")  # fmt: skip
    if gap < 0:
        raise InputError(f"gap {gap} is negative")
    if (method == "lists") != (train_list is not None and test_list is not None):
        raise InputError("two lists of file names, train and test, go with the split 'lists', and only with it")


def _last(series: str) -> str:
    """Return the name of a series without the folders that it may lie in."""
    return series.rpartition("/")[2]


def _without_derived(images: list[ImageRecord], split: Split) -> list[ImageRecord]:
    """Return the images without the series derived from another one that is there too, and note it."""
    present = {series_of(image) for image in images}
    originals = {_last(series) for series in present}
    dropped = {series for series in present if DERIVED_FROM.get(_last(series)) in originals}
    for series in sorted(dropped):
        split.notes.append(f"{series} is left out: it is cut out of {DERIVED_FROM[_last(series)]}")
    return [image for image in images if series_of(image) not in dropped]


def _counts(total: int, fractions: tuple[float, float, float]) -> tuple[int, int, int]:
    """Return how many of `total` go to train, val, test."""
    val, test = round(total * fractions[1]), round(total * fractions[2])
    return total - val - test, val, test


def _assign(split: Split, images: list[ImageRecord], counts: tuple[int, int, int]) -> None:
    """Give the images, in their order, to train, then val, then test."""
    ids = [image["id"] for image in images]
    train, val, _ = counts
    split.train += ids[:train]
    split.val += ids[train : train + val]
    split.test += ids[train + val :]


def _val_share(fractions: tuple[float, float, float]) -> float:
    """Return val's share of train and val together, for splits whose test part is given."""
    return fractions[1] / (fractions[0] + fractions[1])


def _val_by_chance(split: Split, ids: list[int], fractions: tuple[float, float, float],
                   rng: np.random.Generator) -> None:  # fmt: skip
    shuffled = [ids[k] for k in rng.permutation(len(ids))]
    count = round(len(ids) * _val_share(fractions))
    split.val, split.train = shuffled[:count], shuffled[count:]


def _by_series(images: list[ImageRecord], fractions: tuple[float, float, float], rng: np.random.Generator,
               split: Split) -> None:  # fmt: skip
    """Give whole series to the part that lacks most of its share, the largest series first."""
    present = {series_of(image): None for image in images}
    groups: dict[str, list[int]] = {}
    for image in images:
        name = series_of(image)
        original = DERIVED_FROM.get(_last(name))
        together = next((other for other in present if _last(other) == original), name) if original else name
        groups.setdefault(together, []).append(image["id"])
    wanted = [name for name, share in zip(("train", "val", "test"), fractions, strict=True) if share > 0]
    if len(groups) < len(wanted):
        raise InputError(f"{len(groups)} series cannot fill {', '.join(wanted)}; split inside the series instead "
                         "(block), or set a fraction to 0")  # fmt: skip
    order = [list(groups.values())[k] for k in rng.permutation(len(groups))]
    targets = dict(zip(("train", "val", "test"), (share * len(images) for share in fractions), strict=True))
    for k, ids in enumerate(sorted(order, key=len, reverse=True)):
        empty = [name for name in wanted if not getattr(split, name)]
        choice = empty if len(empty) == len(order) - k else wanted  # the last series go to parts still empty
        part = max(choice, key=lambda name: (targets[name] - len(getattr(split, name))) / targets[name])
        getattr(split, part).extend(ids)


def _by_block(images: list[ImageRecord], fractions: tuple[float, float, float], train_frames: tuple[int, int] | None,
              test_frames: tuple[int, int] | None, gap: int, split: Split) -> None:  # fmt: skip
    groups: dict[str, list[ImageRecord]] = {}
    for image in sorted(images, key=number_of):
        groups.setdefault(series_of(image), []).append(image)
    for name, series in groups.items():
        block = Split()
        if train_frames and test_frames:
            given = [image for image in series if train_frames[0] <= number_of(image) <= train_frames[1]]
            count = round(len(given) * _val_share(fractions))
            _assign(block, given, (len(given) - count, count, 0))
            block.test = [image["id"] for image in series if test_frames[0] <= number_of(image) <= test_frames[1]]
        else:
            _assign(block, series, _counts(len(series), fractions))
        numbers = {image["id"]: number_of(image) for image in series}
        around = max(numbers.values()) if _last(name) in TURNTABLES else None
        block.train = _apart(block.train, block.val + block.test, numbers, gap, around)
        block.val = _apart(block.val, block.test, numbers, gap, around)
        split.train += block.train
        split.val += block.val
        split.test += block.test
    if gap:
        split.notes.append(f"block: gaps of {gap} frames between two parts are left out")
    if not gap and any(_last(name) in TURNTABLES for name in groups):
        split.notes.append("block: C0001 is a turntable, so its first and last frames are neighbors; "
                           "a gap keeps the parts apart")  # fmt: skip


def _apart(ids: list[int], others: list[int], numbers: dict[int, int], gap: int, around: int | None) -> list[int]:
    """Return the ids whose frames lie more than `gap` from all others; `around` frames make a full turn."""
    taken = np.array([numbers[other] for other in others])
    if gap == 0 or not len(taken):
        return ids
    kept = []
    for identity in ids:
        distance = np.abs(taken - numbers[identity])
        if around:
            distance = np.minimum(distance, around - distance)
        if distance.min() > gap:
            kept.append(identity)
    return kept


def _by_lists(images: list[ImageRecord], fractions: tuple[float, float, float], rng: np.random.Generator,
              train_list: Path, test_list: Path, split: Split) -> None:  # fmt: skip
    train, test = _listed(train_list, images), _listed(test_list, images)
    both = [identity for identity in train if identity in set(test)]
    if both:
        name = next(image["file_name"] for image in images if image["id"] == both[0])
        raise InputError(f"{train_list} and {test_list}: {name} is on both lists ({len(both)} such images)")
    split.test = test
    _val_by_chance(split, train, fractions, rng)
    series = {image["id"]: _last(series_of(image)) for image in images}
    for part, whole in DERIVED_FROM.items():
        sides = [{series[identity] for identity in side} & {part, whole} for side in (train, test)]
        if all(sides) and sides[0] | sides[1] == {part, whole}:
            split.notes.append(f"lists: {part} is cut out of {whole}, and they lie on two sides; scores are optimistic")


def _listed(file: Path, images: list[ImageRecord]) -> list[int]:
    """Return the ids that a text file names, one a line: by file name, or its last part, with or without suffix."""
    if not Path(file).is_file():
        raise InputError(f"{file}: no such file")
    known: dict[str, set[int]] = {}
    for image in images:
        path = Path(image["file_name"])
        for name in {image["file_name"], path.name, path.stem}:
            known.setdefault(name, set()).add(image["id"])
    found: list[int] = []
    for line, text in enumerate(Path(file).read_text(encoding="utf-8").splitlines(), start=1):
        name = text.strip()
        if not name or name.startswith("#"):
            continue
        matches = known.get(name) or known.get(Path(name).name) or set()
        if len(matches) != 1:
            problem = "no image has this name" if not matches else f"{len(matches)} images have this name"
            raise InputError(f"{file}, line {line}: {name}: {problem}")
        found += matches
    return list(dict.fromkeys(found))


def _finished(split: Split, dataset: CocoDataset, wanted: Iterable[str]) -> Split:
    """Put the ids in the data set's order, list what was left out, and refuse an empty part."""
    for name in sorted(wanted):
        if not getattr(split, name):
            raise InputError(f"{dataset.path or 'data set'}: the {name} part would be empty "
                             f"({len(dataset.images)} images); change fractions, frames, gap or split")  # fmt: skip
    order = {image["id"]: k for k, image in enumerate(dataset.images)}
    for name in ("train", "val", "test"):
        getattr(split, name).sort(key=order.__getitem__)
    used = {*split.train, *split.val, *split.test}
    split.left_out = [identity for identity in order if identity not in used]
    return split
