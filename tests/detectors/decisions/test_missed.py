"""Conformal risk control: hand-worked thresholds, its guarantee on exchangeable data, its failure elsewhere."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from data.coco import CocoDataset, write_results
from data.errors import InputError
from detectors.decisions.bounds import split_losses
from detectors.decisions.calibration import fit_temperature, reliability, with_temperature
from detectors.decisions.missed import bound_misses, missed_shares, scores_by_radiograph
from detectors.decisions.spoken import sentence_at
from detectors.evaluation.matching import find_overlaps
from detectors.evaluation.runs import write_ground_truth
from radiograph.commands.bound_misses import main


def one_each(*scores: float) -> list[np.ndarray]:
    return [np.array([score]) for score in scores]


def test_the_threshold_by_hand() -> None:
    """Nine radiographs: 0.9 R + 0.1 <= 0.3 lets R be 2 / 9, two missed: the third score from below."""
    found = bound_misses(one_each(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9), 0.3)
    assert found.threshold == 0.3
    assert found.share == pytest.approx(2 / 9)
    assert bound_misses(one_each(*[0.5] * 9), 0.1).threshold == 0.5  # 0.1 is just allowed: nothing may be missed


def test_defects_of_one_radiograph_share_its_loss() -> None:
    """Of 4 radiographs, one with 4 defects: missing two of them costs 1 / 8; 0.8 R + 0.2 <= 0.4 allows 1 / 4."""
    scores = [np.array([0.1, 0.2, 0.3, 0.9]), *one_each(0.5, 0.6, 0.7)]
    assert bound_misses(scores, 0.4).threshold == 0.5  # three missed are 3 / 16; with the next 7 / 16
    assert missed_shares(scores, 0.5).tolist() == [0.75, 0, 0, 0]


def test_what_cannot_be_promised_is_refused() -> None:
    with pytest.raises(InputError, match="takes at least 9"):
        bound_misses(one_each(*[0.5] * 8), 0.1)
    with pytest.raises(InputError, match=r"0\.400 are found at no score, so that 0\.455 is the least"):
        bound_misses(one_each(*[-np.inf] * 4, *[0.5] * 6), 0.3)


def test_the_bound_holds_on_average_over_splits_and_fails_elsewhere() -> None:
    rng = np.random.default_rng(0)
    scores = [rng.beta(2, 2, rng.integers(1, 5)) for _ in range(200)]
    harder = [rng.beta(1, 4, 3) for _ in range(100)]
    own, other = split_losses(scores, 0.2, 100, others=harder)
    assert 0.17 < own.mean() <= 0.2
    assert other.mean() > 0.4


def test_the_expectation_is_bounded_over_fresh_draws() -> None:
    """Calibration sets of 9: the mean loss of a tenth radiograph stays at or under alpha, and not by much."""
    rng = np.random.default_rng(1)
    losses = []
    for _ in range(3000):
        scores = one_each(*rng.random(10))
        losses.append(missed_shares(scores[9:], bound_misses(scores[:9], 0.3).threshold)[0])
    assert 0.27 < np.mean(losses) < 0.32


def test_temperature_and_reliability() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(20000)
    hit = rng.random(20000) < truth
    sharp = with_temperature(truth, 0.5)  # too sure of itself
    assert fit_temperature(sharp, hit) == pytest.approx(2, rel=0.05)
    assert reliability(truth, hit).error < 0.02
    assert reliability(sharp, hit).error > 0.08
    found = reliability(np.array([0.2, 0.2, 0.8, 0.8]), np.array([False, True, True, True]), 2)
    assert (found.score.tolist(), found.hits.tolist()) == ([0.2, 0.8], [0.5, 1.0])
    assert found.error == pytest.approx(0.25)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """An evaluation of 40 radiographs with one defect each, found at k / 40, and a false call on each."""
    rng = np.random.default_rng(0)
    images = [{"id": k, "file_name": f"{k}.png", "width": 99, "height": 99} for k in range(40)]
    truth = [{"id": k + 1, "image_id": k, "category_id": 1, "bbox": [30, 30, 20, 10]} for k in range(40)]
    results = [{"image_id": k, "category_id": 1, "bbox": [30, 30, 20, 10], "score": (k + 1) / 41} for k in range(40)]
    results += [{"image_id": k, "category_id": 1, "bbox": [70, 70, 9, 9], "score": rng.random() / 3} for k in range(40)]
    dataset = CocoDataset(images, truth, [{"id": 1, "name": "defect"}])
    write_results(tmp_path / "run" / "detections.json", results)
    write_ground_truth(tmp_path / "run" / "ground_truth.json", dataset, tmp_path, "run")
    table = find_overlaps(dataset, results).match(criterion="center")
    assert len(scores_by_radiograph(table)) == 40
    return tmp_path / "run"


def test_the_command_keeps_the_bound_with_the_run(run: Path) -> None:
    """40 / 41 R + 1 / 41 <= 0.2 lets R be 7 / 40: the threshold is the eighth score."""
    done = CliRunner().invoke(main, ["--run", str(run), "--alpha", "0.2", "--set-threshold"])
    assert done.exit_code == 0, done.output
    record = json.loads((run / "misses.json").read_text())
    assert record["threshold"] == pytest.approx(8 / 41)
    assert record["share"] == pytest.approx(7 / 40)
    assert (run / "plots" / "reliability.png").is_file()
    assert json.loads((run / "threshold.json").read_text())["threshold"] == record["threshold"]
    assert "at most 20%" in str(sentence_at(run, 8 / 41))
    assert "no bound on missed defects at score 0.300" in str(sentence_at(run, 0.3))
    assert sentence_at(run.parent, 0.3) is None


def test_faults_end_in_one_line(run: Path) -> None:
    done = CliRunner().invoke(main, ["--run", str(run), "--alpha", "0.01"])
    assert done.exit_code == 2
    assert "takes at least 99" in done.output
    (run / "misses.json").write_text("{}")
    with pytest.raises(InputError, match="lacks alpha"):
        sentence_at(run, 0.5)
