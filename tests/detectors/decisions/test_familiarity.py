"""The alarm for unfamiliar radiographs: its false alarm rate, what raises it, and how it is kept and spoken."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from exported_models import TINY_CENTER_NET, export_model, save_run
from missing_packages import run_without

from data.errors import InputError
from data.radiograph import write_radiograph
from data.synthesis.phantom import make_phantom
from detectors.boxes.center_net import CenterNetConfig
from detectors.decisions.familiarity import learn, read_familiar, shrunk_covariance, watch, write_familiar
from detectors.export.write import export_run
from detectors.patches.xnet import XnetV2Config
from detectors.runtime.predictor import ExportedPredictor
from radiograph.commands.accept import main as accept
from radiograph.commands.learn_normal import main as learn_normal
from radiograph.commands.predict import main as predict


def drawn(rng: np.random.Generator, count: int, shift: float = 0.0) -> np.ndarray:
    """Return 12 correlated features."""
    mixed = np.random.default_rng(5).normal(size=(12, 12))
    return rng.normal(size=(count, 12)) @ mixed + shift


def test_false_alarms_keep_to_their_rate_and_the_unfamiliar_is_seen() -> None:
    rng = np.random.default_rng(0)
    false, true = [], []
    for _ in range(40):
        found = learn(drawn(rng, 120), 0.1)
        false.append((found.distance(drawn(rng, 200)) > found.threshold).mean())
        true.append((found.distance(drawn(rng, 50, shift=8.0)) > found.threshold).mean())
    assert 0.06 < np.mean(false) < 0.115
    assert np.mean(true) > 0.95


def test_shrinkage_by_hand() -> None:
    """Two samples (1, 0) and (-1, 0): S = diag(1, 0), tr S = tr S^2 = 1, width 2: (0 + 1) / (2 (1 - 1/2)) = 1."""
    assert shrunk_covariance(np.array([[1.0, 0], [-1, 0]])).tolist() == [[0.5, 0], [0, 0.5]]
    many = np.random.default_rng(0).normal(size=(20000, 3)) * (1, 2, 3)
    assert shrunk_covariance(many) == pytest.approx(np.diag([1, 4, 9]), abs=0.25)


def test_too_few_radiographs_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="give at least 38"):
        learn(drawn(rng, 37), 0.05)
    assert learn(drawn(rng, 38), 0.05).held_out == 19
    with pytest.raises(InputError, match="give at least 20"):
        learn(drawn(rng, 12), 0.4)


def test_files_are_read_back_or_refused(tmp_path: Path) -> None:
    found = learn(drawn(np.random.default_rng(0), 60), 0.1)
    path = tmp_path / "normal.npz"
    write_familiar(path, found)
    again = read_familiar(path)
    assert np.array_equal(again.precision, found.precision)
    assert (again.threshold, again.learned) == (found.threshold, 30)
    with pytest.raises(InputError, match="9 features, but 12 were learned"):
        again.distance(np.zeros((1, 9)))
    for content in (b"", b"PK\x03\x04 nothing", path.read_bytes()[:300]):
        (tmp_path / "faulty.npz").write_bytes(content)
        with pytest.raises(InputError, match="not readable"):
            read_familiar(tmp_path / "faulty.npz")
    np.savez(tmp_path / "other.npz", **{**vars(found), "scale": np.zeros(3)})
    with pytest.raises(InputError, match="do not fit"):
        read_familiar(tmp_path / "other.npz")


def test_exported_models_raise_the_alarm_without_torch(tmp_path: Path) -> None:
    """Learned and raised with ONNX Runtime alone; and what was learned of the run itself goes with its export."""
    save_run(tmp_path / "run", CenterNetConfig(**TINY_CENTER_NET))
    for k in range(40):
        pixels = make_phantom("castings", 1, k, style="easy", family="wheel", size=(96, 64)).pixels
        write_radiograph(tmp_path / "own" / f"{k}.png", pixels, 8)
    write_radiograph(tmp_path / "film.png", make_phantom("welds", 1, 0, size=(96, 64)).pixels, 8)
    rate = ["--false-alarms", "0.1", str(tmp_path / "own")]
    assert CliRunner().invoke(learn_normal, ["--run", str(tmp_path / "run"), *rate]).exit_code == 0
    export_run(tmp_path / "run", tmp_path / "exported")
    paths = [str(tmp_path / "film.png"), str(tmp_path / "own")]
    rows = []
    for again in (False, True):
        if again:
            learned = run_without(["torch", "cv2"], "learn-normal", "--run", str(tmp_path / "exported"), *rate)
            assert learned.returncode == 0, learned.stderr
        said = run_without(
            ["torch", "cv2"], "predict", "--run", str(tmp_path / "exported"), "--out", str(tmp_path / "out"), *paths
        )
        assert said.returncode == 0, said.stderr
        rows.append(json.loads((tmp_path / "out" / "alarms.json").read_text())["radiographs"])
        assert Path(rows[-1][0]["file_name"]).name == "film.png"
        assert rows[-1][0]["alarm"]
        assert sum(row["alarm"] for row in rows[-1][1:]) < 12
    assert [row["distance"] for row in rows[0]] == pytest.approx([row["distance"] for row in rows[1]], rel=0.2)


def test_a_map_has_no_features_to_learn(tmp_path: Path) -> None:
    export_model(tmp_path, XnetV2Config(), base="xnet_v2")
    with pytest.raises(InputError, match="exported: this model has no backbone with features"):
        watch(ExportedPredictor(tmp_path / "exported"))


@pytest.mark.slow
def test_commands_learn_speak_and_look_again(tmp_path: Path) -> None:
    for k in range(40):
        pixels = make_phantom("castings", 1, k, style="easy", family="wheel", size=(128, 96)).pixels
        write_radiograph(tmp_path / "own" / f"{k}.png", pixels, 8)
    write_radiograph(tmp_path / "own_too" / "film.png", make_phantom("welds", 1, 0, size=(128, 96)).pixels, 8)
    normal, out = tmp_path / "normal.npz", tmp_path / "out"
    learned = CliRunner().invoke(
        learn_normal, ["--out", str(normal), "--false-alarms", "0.1", str(tmp_path / "own")]
    )  # fmt: skip
    assert learned.exit_code == 0, learned.output
    paths = [str(tmp_path / "own_too"), str(tmp_path / "own" / "3.png")]
    said = CliRunner().invoke(predict, ["--normal", str(normal), "--out", str(out), "--no-overlays", *paths])
    assert said.exit_code == 0, said.output
    assert "1 of 2 radiographs are not like" in said.output
    alarms = {
        Path(row["file_name"]).name: row["alarm"]
        for row in json.loads((out / "alarms.json").read_text())["radiographs"]
    }
    assert alarms == {"film.png": True, "3.png": False}
    rules = tmp_path / "rules.yaml"
    rules.write_text("unit: px\nrules:\n- {name: many, measure: number, most: 1000}\n")
    done = CliRunner().invoke(accept, [str(out), "--rules", str(rules), "--out", str(tmp_path / "accepted")])
    assert "1 accepted, 0 rejected, 1 to look at again" in done.output
    assert "not like the radiographs of the qualification" in (tmp_path / "accepted" / "acceptance.csv").read_text()
    refused = CliRunner().invoke(learn_normal, [str(tmp_path / "own")])
    assert refused.exit_code == 2
    assert "give --out FILE" in refused.output
