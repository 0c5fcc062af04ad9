"""Grades of simulated porosity whose severity is known."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from data.errors import InputError
from data.radiograph import write_radiograph
from detectors.qualification.severity import SeverityLadder, read_ladder, region_features
from radiograph.cli import main

PORES = (3, 9, 24, 60)  # of each grade, in a region


def porous(rng: np.random.Generator, pores: float, side: int = 160) -> np.ndarray:
    """Return a region with about so many pores, larger ones where there are more."""
    chords = np.zeros((side, side), np.float32)
    for _ in range(max(rng.poisson(pores), 1)):
        radius = rng.uniform(1.5, 2.5 + 0.5 * np.log(pores))
        center = (int(rng.uniform(8, side - 8)), int(rng.uniform(8, side - 8)))
        cv2.circle(chords, center, round(radius), float(radius), -1)
    plate = 0.4 + 0.02 * np.linspace(-1, 1, side)[None] + 0.03 * cv2.GaussianBlur(chords, (0, 0), 1.0)
    return (plate + rng.normal(0, 0.008, plate.shape)).clip(0, 1).astype(np.float32)


def test_graded_porosity_is_graded() -> None:
    rng = np.random.default_rng(0)
    rows = np.array([region_features(porous(rng, pores)) for pores in PORES for _ in range(6)])
    grades = np.repeat(np.arange(len(PORES)), 6)
    ladder = SeverityLadder(rows, grades, ["1", "2", "3", "4"])
    exact = within = covered = 0
    for k, pores in enumerate(PORES):
        for _ in range(10):
            found = ladder.grade(region_features(porous(rng, pores)))
            assert sum(found.probabilities.values()) == pytest.approx(1)
            exact += int(found.grade) == k + 1
            within += abs(int(found.grade) - (k + 1)) <= 1
            covered += int(found.low) <= k + 1 <= int(found.high)
    assert exact >= 30
    assert within == 40
    assert covered >= 36


def test_more_of_anything_is_never_a_lower_grade() -> None:
    rng = np.random.default_rng(1)
    rows = np.array([region_features(porous(rng, pores)) for pores in PORES for _ in range(3)])
    ladder = SeverityLadder(rows, np.repeat(np.arange(4), 3), ["1", "2", "3", "4"])
    for base in rows:
        expected = []
        for more in (0.0, 0.3, 0.9, 2.0):
            shares = ladder.grade(base + more).probabilities
            expected.append(sum(int(name) * share for name, share in shares.items()))
        assert expected == sorted(expected)


def test_a_dark_region_is_the_negative_of_a_bright_one() -> None:
    pixels = porous(np.random.default_rng(2), 20)
    assert region_features(1 - pixels, "dark") == pytest.approx(region_features(pixels), abs=1e-3)
    assert region_features(np.full((64, 64), 0.5, np.float32)).tolist() == [0, 0, 0, 0]


def test_the_command_grades_a_folder(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for k, pores in enumerate((2, 40)):
        for number in range(3):
            write_radiograph(tmp_path / "ladder" / f"grade {k + 1}" / f"{number}.png", porous(rng, pores))
    write_radiograph(tmp_path / "new.png", porous(rng, 40))
    arguments = ["grade-severity", "--references", str(tmp_path / "ladder"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(main, [*arguments, str(tmp_path / "new.png")])
    assert result.exit_code == 0, result.output
    assert "grade 2" in result.output
    assert (tmp_path / "out" / "grades.png").is_file()


def test_too_few_references_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="0 folders of grades"):
        read_ladder(tmp_path)
    for k in range(2):
        write_radiograph(tmp_path / str(k) / "a.png", porous(np.random.default_rng(k), 5))
    with pytest.raises(InputError, match="references by grade: 0 1, 1 1"):
        read_ladder(tmp_path)
