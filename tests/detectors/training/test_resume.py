"""Runs that die, are started twice, or go on with other settings."""

import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from data.errors import InputError
from detectors.backbones.weights import read_checkpoint
from detectors.config.experiment import ExperimentConfig
from detectors.training import train
from detectors.training.logs import RunLog
from detectors.training.processes import restore_random_states, seed_process
from detectors.training.run_folder import lock_run, new_run_folder
from tests.detectors.training.line_task import LineTask, line_config, log_rows

ROOT = Path(__file__).resolve().parents[3]
FIGURES = [{"ap50": 0.1 * k} for k in (1, 3, 2, 4)]


def only_run(output: Path) -> Path:
    (folder,) = (output / "line").iterdir()
    return folder


def whole_run(line: type[LineTask], output: Path, **train_settings: object) -> Path:
    line.script[:] = FIGURES
    return train(line_config(output, epochs=4, **train_settings))[0]


def same_end(first: Path, second: Path) -> None:
    one, other = (read_checkpoint(folder / "last.ckpt") for folder in (first, second))
    assert all(torch.equal(one["model"][name], other["model"][name]) for name in one["model"])
    assert torch.equal(one["training"]["random"][0]["torch"], other["training"]["random"][0]["torch"])
    assert one["training"]["best"] == other["training"]["best"]
    assert log_rows(first) == log_rows(second)
    assert [read_checkpoint(folder / "best.ckpt")["epoch"] for folder in (first, second)] == [4, 4]


@pytest.mark.parametrize(("ema", "batch_norm", "died"), [(None, False, 2), (0.9, False, 2), (None, True, 4)])
def test_a_validation_that_dies_costs_no_epoch(
    line: type[LineTask], tmp_path: Path, ema: float | None, batch_norm: bool, died: int
) -> None:
    """Statistics of batch norm are measured again from the same samples."""
    whole = whole_run(line, tmp_path / "whole", ema_decay=ema, batch_norm=batch_norm)
    line.script[:] = [*FIGURES[: died - 1], KeyboardInterrupt()]
    config = line_config(tmp_path / "part", epochs=4, ema_decay=ema, batch_norm=batch_norm)
    with pytest.raises(KeyboardInterrupt):
        train(config)
    part = only_run(tmp_path / "part")
    assert read_checkpoint(part / "last.ckpt")["epoch"] == died
    assert read_checkpoint(part / "best.ckpt")["epoch"] == (1 if died == 2 else 2)
    steps = len(line.drawn)
    measured = 4 * batch_norm  # batches of each validation
    line.script[:] = FIGURES[died - 1 :]
    random.random(), torch.rand(5)
    train(config, resume=part)
    assert len(line.drawn) - steps == (4 - died) * 4 + (5 - died) * measured
    same_end(whole, part)


@pytest.mark.parametrize("epoch", [2, 4])
def test_a_process_that_dies_before_the_log_loses_no_epoch(
    line: type[LineTask], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int
) -> None:
    whole = whole_run(line, tmp_path / "whole")
    write = RunLog.write

    def dies(self: RunLog, rows: list) -> None:
        if len(rows) == epoch:
            raise KeyboardInterrupt
        write(self, rows)

    monkeypatch.setattr(RunLog, "write", dies)
    line.script[:] = FIGURES
    config = line_config(tmp_path / "part", epochs=4)
    with pytest.raises(KeyboardInterrupt):
        train(config)
    part = only_run(tmp_path / "part")
    assert len(log_rows(part)) == epoch - 1
    monkeypatch.setattr(RunLog, "write", write)
    train(config, resume=part)
    same_end(whole, part)


def test_what_a_killed_process_left_is_removed_and_nothing_else(line: type[LineTask], tmp_path: Path) -> None:
    folder = whole_run(line, tmp_path)
    kept = {".mine-abcdefgh.ckpt", ".last-a.ckpt"}
    for name in (".last-abcd_f12.ckpt", ".best-abcdefgh.ckpt", ".log-abcdefgh.csv", *kept):
        (folder / name).write_text("torn")
    train(line_config(tmp_path, epochs=4), resume=folder)
    assert {path.name for path in folder.iterdir() if path.name.startswith(".")} == kept


def test_what_would_make_it_another_run_is_refused(line: type[LineTask], tmp_path: Path) -> None:
    cosine = {"kind": "cosine", "warmup_steps": 0}
    folder = whole_run(line, tmp_path, schedule=cosine)
    for config, words in (
        (line_config(tmp_path, epochs=4, schedule=cosine, seed=4), "seed cannot change"),
        (line_config(tmp_path, epochs=4, schedule=cosine, lr=0.5), r"train\.lr cannot change"),
        (line_config(tmp_path, epochs=4, schedule={"kind": "step", "warmup_steps": 0}), r"train\.schedule cannot"),
        (line_config(tmp_path, epochs=4, schedule=cosine, data={"window": {"low": 1, "high": 99}}), r"data\.window"),
        (line_config(tmp_path, epochs=4, schedule=cosine, data={"augmentation": {"noise": 0.1}}), r"data\.augmenta"),
        (line_config(tmp_path, epochs=6, schedule=cosine), r"length of a cosine schedule \(16 steps in the run, 24"),
    ):
        with pytest.raises(InputError, match=words):
            train(config, resume=folder)
    train(line_config(tmp_path / "elsewhere", epochs=4, schedule=cosine, data={"workers": 1}), resume=folder)


def test_a_renamed_class_is_refused(line: type[LineTask], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = whole_run(line, tmp_path)
    monkeypatch.setattr(line, "category", "screw")
    with pytest.raises(InputError, match=r"the classes \(1 'defect' in the run, 1 'screw' in its data\) cannot change"):
        train(line_config(tmp_path, epochs=4), resume=folder)


def test_one_class_more_is_refused(line: type[LineTask], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = whole_run(line, tmp_path)
    set_up = line.__init__

    def with_one_more(self: LineTask, config: ExperimentConfig) -> None:
        set_up(self, config)
        self.categories.append({"id": 2, "name": "screw"})

    monkeypatch.setattr(line, "__init__", with_one_more)
    with pytest.raises(InputError, match=r"1 'defect' in the run, 1 'defect', 2 'screw' in its data"):
        train(line_config(tmp_path, epochs=4), resume=folder)


def test_a_constant_rate_may_go_on_longer(line: type[LineTask], tmp_path: Path) -> None:
    whole = whole_run(line, tmp_path / "whole")
    line.script[:] = FIGURES[:2]
    part, _ = train(line_config(tmp_path / "part", epochs=2))
    line.script[:] = FIGURES[2:]
    train(line_config(tmp_path / "part", epochs=4), resume=part)
    same_end(whole, part)


def test_a_run_of_an_older_version_goes_on(line: type[LineTask], tmp_path: Path) -> None:
    """Its checkpoint had one random state, one best metric, and no rows of the log."""
    whole = whole_run(line, tmp_path / "whole")
    line.script[:] = FIGURES[:2]
    part, _ = train(line_config(tmp_path / "part", epochs=2))
    checkpoint = torch.load(part / "last.ckpt", weights_only=True)
    training = checkpoint["training"]
    training |= {"random": training["random"][0], "best": training["best"][0]}
    for name in ("rows", "closed", "total_steps"):
        del training[name]
    checkpoint["config"]["train"]["ema"] = checkpoint["config"]["train"].pop("ema_decay")
    torch.save(checkpoint, part / "last.ckpt")
    line.script[:] = FIGURES[2:]
    train(line_config(tmp_path / "part", epochs=4), resume=part)
    ends = [read_checkpoint(folder / "last.ckpt")["model"]["weight"] for folder in (whole, part)]
    assert torch.equal(*ends)
    assert [row["epoch"] for row in log_rows(part)] == ["1", "2", "3", "4"]


@pytest.mark.parametrize(
    "change",
    [{"training": {}}, {"training": 3}, {"training": []}, {"epoch": "x"}, {"metrics": 4}, {"categories": [{"id": 1}]},
     {"config": "x"}, {"config": {"model": 3}}],
)  # fmt: skip
def test_a_mutated_checkpoint_is_one_line(line: type[LineTask], tmp_path: Path, change: dict) -> None:
    folder = whole_run(line, tmp_path)
    torch.save(torch.load(folder / "last.ckpt", weights_only=True) | change, folder / "last.ckpt")
    with pytest.raises(InputError) as caught:
        train(line_config(tmp_path, epochs=4), resume=folder)
    assert "\n" not in str(caught.value)
    assert "last.ckpt" in str(caught.value)


def test_one_process_at_a_time_trains_a_run(line: type[LineTask], tmp_path: Path) -> None:
    folder = whole_run(line, tmp_path)
    code = (
        "import time; from pathlib import Path; from detectors.training.run_folder import lock_run; "
        f"lock = lock_run(Path({str(folder)!r})); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="another process is training this run"):
            train(line_config(tmp_path, epochs=4), resume=folder)
        other.kill()
    train(line_config(tmp_path, epochs=4), resume=folder)
    lock_run(folder).release()


def test_runs_of_one_second_do_not_share_a_folder(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: new_run_folder(tmp_path / "runs"), range(32)))
    assert len(set(folders)) == 32
    assert all(folder.is_dir() for folder in folders)


def test_an_output_that_is_a_file_is_named(line: type[LineTask], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "line").write_text("x")
    for output in (tmp_path / "file", tmp_path / "out", tmp_path / "file" / "deeper"):
        with pytest.raises(InputError, match="set output"):
            train(line_config(output, epochs=1))
    assert (tmp_path / "file").read_text() == "x"


def test_every_process_has_random_numbers_of_its_own() -> None:
    states, drawn = [], []
    for process in range(3):
        seed_process(5, process)
        states.append({"python": random.getstate(), "torch": torch.get_rng_state(), "cuda": []})
        drawn.append((random.random(), torch.rand(1).item()))
    assert len(set(drawn)) == 3
    for process in range(3):
        restore_random_states(states, process)
        assert (random.random(), torch.rand(1).item()) == drawn[process]
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    restore_random_states(states, 3)  # a process that was not there
    assert torch.rand(1) == expected
    seed_process(2**32 - 1, 1)


TWICE = """
import sys
from pathlib import Path
from detectors.build import MODELS
from detectors.training import loop, train
from tests.detectors.training.line_task import Line, LineSection, LineTask, line_config
MODELS["line"] = LineSection, lambda config, classes: Line()
loop.TASKS["line"] = LineTask
out = Path(sys.argv[1])
train(line_config(out / "other", epochs=1, precision="bf16"))
train(line_config(out / "whole", epochs=4))
part, _ = train(line_config(out / "part", epochs=2))
train(line_config(out / "part", epochs=4), part)
"""


@pytest.mark.slow
def test_two_processes_train_several_runs_and_resume_each_with_its_own_numbers(tmp_path: Path) -> None:
    (tmp_path / "twice.py").write_text(TWICE)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    command = [*launch, tmp_path / "twice.py", tmp_path]
    subprocess.run(command, check=True, timeout=900, env=environment)
    whole, part = (read_checkpoint(only_run(tmp_path / name) / "last.ckpt") for name in ("whole", "part"))
    assert torch.equal(whole["model"]["weight"], part["model"]["weight"])
    for one, other in zip(whole["training"]["random"], part["training"]["random"], strict=True):
        assert torch.equal(one["torch"], other["torch"])
    first, second = (state["torch"] for state in whole["training"]["random"])
    assert not torch.equal(first, second)
