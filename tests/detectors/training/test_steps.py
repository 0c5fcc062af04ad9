"""What a step does, on a task that can be followed by hand: schedule, clipping, order, averages, ties."""

import math
from pathlib import Path

import pytest
import torch

from detectors.backbones.weights import read_checkpoint
from detectors.training import train
from tests.detectors.training.line_task import LineTask, line_config, log_rows


def test_the_learning_rate_follows_its_schedule(line: type[LineTask], tmp_path: Path) -> None:
    schedule = {"kind": "cosine", "warmup_steps": 0, "min_lr_factor": 0.1}
    folder, _ = train(line_config(tmp_path, schedule=schedule))
    rates = [float(row["learning_rate"]) for row in log_rows(folder)]
    expected = [0.01 * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * done / 3))) for done in (1, 2, 3)]
    assert rates == pytest.approx(expected)


def test_gradients_are_clipped(line: type[LineTask], tmp_path: Path) -> None:
    """The loss is about 100 at the start, its gradient far above 0.5: four steps of length 0.01 x 0.5 at most."""
    folder, _ = train(line_config(tmp_path, epochs=1, clip_norm=0.5))
    clipped = read_checkpoint(folder / "last.ckpt")["model"]["weight"].norm()
    free, _ = train(line_config(tmp_path, epochs=1))
    assert 0.005 < float(clipped) <= 4 * 0.01 * 0.5 + 1e-6
    assert float(read_checkpoint(free / "last.ckpt")["model"]["weight"].norm()) > 3 * float(clipped)


def test_every_epoch_draws_fresh_samples_in_an_order_of_its_own(line: type[LineTask], tmp_path: Path) -> None:
    train(line_config(tmp_path))
    orders = [[k for epoch, indices, _ in line.drawn if epoch == e for k in indices] for e in range(3)]
    assert all(sorted(order) == list(range(8)) for order in orders)
    assert len({tuple(order) for order in orders} | {tuple(range(8))}) == 4
    rows = {(epoch, k): batch[place] for epoch, ids, batch in line.drawn for place, k in enumerate(ids)}
    assert not torch.equal(rows[0, 5], rows[1, 5])


def test_averaged_weights_are_validated_and_saved(line: type[LineTask], tmp_path: Path) -> None:
    folder, metrics = train(line_config(tmp_path, epochs=1, ema_decay=0.9))
    checkpoint = read_checkpoint(folder / "best.ckpt")
    last = read_checkpoint(folder / "last.ckpt")
    assert not torch.equal(last["model"]["weight"], last["training"]["model"]["weight"])
    assert last["model"]["weight"].norm() > 0
    assert torch.equal(line.validated[0][0], last["model"]["weight"])
    assert float(checkpoint["model"]["weight"].sum()) == pytest.approx(metrics["weight"])


@pytest.mark.parametrize(
    ("script", "best"),
    [
        ([{"ap50": 0.0}, {"ap50": 0.0}, {"ap50": 0.0}], 3),
        ([{"ap50": 0.5}, {"ap50": 0.4}, {"ap50": 0.3}], 1),
        ([{"ap50": 0.1}, {"ap50": 0.4}, {"ap50": 0.3}], 2),
        ([{"ap50": 0.2, "ap30": 0.6}, {"ap50": 0.2, "ap30": 0.7}, {"ap50": 0.2, "ap30": 0.5}], 2),
        ([{"ap50": 0.2, "ap30": 0.6}, {"ap50": 0.2, "ap30": None}, {"ap50": 0.2, "ap30": 0.6}], 3),
        ([{"ap50": None}, {"ap50": 0.0}, {"ap50": None}], 2),
        ([], 3),
    ],
)
def test_the_best_epoch_is_kept(line: type[LineTask], tmp_path: Path, script: list, best: int) -> None:
    """Ties go to the second metric, then to the later epoch; without metrics the latest weights are the best."""
    line.script[:] = script
    folder, _ = train(line_config(tmp_path))
    assert read_checkpoint(folder / "best.ckpt")["epoch"] == best


def test_validations_are_as_often_as_asked_for(line: type[LineTask], tmp_path: Path) -> None:
    line.script[:] = [{"ap50": 0.1}, {"ap50": 0.2}, {"ap50": 0.3}]
    folder, _ = train(line_config(tmp_path, epochs=5, validate_every=2))
    assert [row["val_ap50"] for row in log_rows(folder)] == ["", "0.1", "", "0.2", "0.3"]
    assert read_checkpoint(folder / "best.ckpt")["epoch"] == 5


def test_validation_is_in_float32_whatever_the_steps_are_in(line: type[LineTask], tmp_path: Path) -> None:
    """A second training in the process may also have another precision than the first."""
    train(line_config(tmp_path, epochs=1))
    for ema in (None, 0.9):
        folder, metrics = train(line_config(tmp_path, epochs=1, precision="bf16", ema_decay=ema))
        weights, autocast = line.validated[-1]
        assert not autocast
        assert float(weights.sum()) == pytest.approx(metrics["weight"])
        assert (folder / "best.ckpt").is_file()
    train(line_config(tmp_path, epochs=1))


def test_settings_of_accelerate_do_not_shrink_the_steps(
    line: type[LineTask],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain, _ = train(line_config(tmp_path))
    for value in ("4", "many"):
        monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", value)
        folder, _ = train(line_config(tmp_path))
        assert f"ACCELERATE_GRADIENT_ACCUMULATION_STEPS={value} is ignored" in capsys.readouterr().out
        weights = [read_checkpoint(run / "last.ckpt")["model"]["weight"] for run in (plain, folder)]
        assert torch.equal(*weights)
