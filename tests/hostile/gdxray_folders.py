"""GDXray's ground_truth.txt with rows of other lengths, words instead of numbers, and broken bytes."""

import contextlib
from pathlib import Path

import numpy as np

from data.errors import InputError
from data.gdxray import read_gdxray_summary
from data.radiograph import write_radiograph
from data.splits import parse_frames, split_dataset
from tests.hostile.mutation import changed_bytes
from tests.hostile.worker import Case

WIDTH, HEIGHT, IMAGES = 44, 32, 3
WORDS = (
    *("nan", "NaN", "inf", "-inf", "1e999", "-1e308", "1e-310", "-0", "+3", "00", "2.5", "1.00000001", "0x1f", "1_000"),
    *("1d3", "1,5", "1;2", "%", "#", "--2", ".", "e5", "1e", "\u0663", "\u00bd", "\u2212 1", "\x00", "\x0c"),
    *("\x1f", "\u2029"),
    *("\xa0", "\ufeff", "9" * 30, "4", "0", "-1", str(WIDTH), str(HEIGHT), "word"),
)  # fmt: skip


def _rows(rng: np.random.Generator) -> list[list[str]]:
    rows = []
    for _ in range(int(rng.integers(1, 7))):
        columns = int(rng.choice([5, 5, 9, 3, 4]))
        numbers = [int(rng.integers(1, IMAGES + 1)), *rng.uniform(-8, 55, columns - 1)]
        form = (".7e", ".3f", "g", ".0f")[int(rng.integers(4))]
        rows.append([f"{number:{form}}" for number in numbers])
    return rows


def _spoil(rows: list[list[str]], rng: np.random.Generator) -> None:
    row = rows[int(rng.integers(len(rows)))]
    at = int(rng.integers(len(row) + 1))
    word = WORDS[int(rng.integers(len(WORDS)))]
    match int(rng.integers(5)):
        case 0:
            row.insert(at, word)
        case 1 if at < len(row):
            del row[at]
        case 2 if at < len(row):
            row[at] = row[at][: int(rng.integers(len(row[at]) + 1))]
        case _:
            row[at : at + 1] = [word]


def make_case(folder: Path) -> Case:
    """Return the case that reads a series; every row must be counted, and every box lie inside its radiograph."""
    series = folder / "Castings" / "C0001"
    for number in range(1, IMAGES + 1):
        write_radiograph(series / f"C0001_{number:04d}.png", np.full((HEIGHT, WIDTH), 0.4))

    def case(number: int) -> None:
        rng = np.random.default_rng([12, number])
        rows = _rows(rng)
        for _ in range(int(rng.integers(3))):
            _spoil(rows, rng)
        between = (" ", "  ", "\t")[int(rng.integers(3))]
        content = str(rng.choice(["\n", "\r\n", "\r", "\n\n"])).join(between.join(row) for row in rows).encode()
        if rng.random() < 0.25:
            content = changed_bytes(content, rng)
        (series / "ground_truth.txt").write_bytes(content)
        with contextlib.suppress(InputError):
            parse_frames(f"{WORDS[number % len(WORDS)]}-{WORDS[number % 11]}")
        dataset, (summary,) = read_gdxray_summary(folder, "castings")
        lines = content.decode("utf-8", "replace").splitlines()
        assert summary.boxes + summary.dropped + summary.points == sum(bool(line.split()) for line in lines), summary
        for annotation in dataset.annotations:
            x, y, width, height = annotation["bbox"]
            assert min(x, y) >= 0
            assert min(width, height) > 0
            assert x + width <= WIDTH + 1e-9
            assert y + height <= HEIGHT + 1e-9
            assert 0 < annotation["area"] <= width * height + 1e-6
        split = split_dataset(dataset, "random", fractions=(0.4, 0.3, 0.3))
        assert sorted(i for ids in split.parts.values() for i in ids) == sorted(image["id"] for image in dataset.images)

    return case
