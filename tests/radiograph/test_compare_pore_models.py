"""compare-pore-models as a user runs it: folds, what it goes on with, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from failures import check_one_line

import detectors.training
from data.files import write_json
from data.volumes.labels import MATERIAL, PORE
from data.volumes.writing import write_volume
from radiograph.commands import compare_pore_models

SHAPE = (16, 24, 24)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(compare_pore_models.main, [str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with three labeled parts, and configurations of a tiny network and a tiny autoencoder."""
    rng = np.random.default_rng(0)
    for number in (1, 2, 3):
        labels = np.zeros(SHAPE, np.uint8)
        labels[2:14, 3:21, 3:21] = MATERIAL
        labels[6:10, 5 + 3 * number : 8 + 3 * number, 10:14] = PORE
        scan = np.where(labels == MATERIAL, 30_000, 9_000) + rng.normal(0, 400, SHAPE)
        write_volume(tmp_path / f"part_{number}.tif", scan.astype(np.uint16))
        write_volume(tmp_path / f"labels_{number}.tif", labels)
    entries = [{"file": f"part_{n}.tif", "labels": f"labels_{n}.tif"} for n in (1, 2, 3)]
    write_json(tmp_path / "parts.json", {"volumes": entries[:2]})
    write_json(tmp_path / "hard.json", {"volumes": entries[2:]})
    write_json(tmp_path / "bare.json", {"volumes": [{"file": "part_1.tif"}, entries[1]]})
    for name, model in (("net", {"name": "unet3d", "widths": [4, 8], "norm": "batch"}),
                        ("vae", {"name": "vae", "widths": [4, 8], "latent": 4})):  # fmt: skip
        content = {
            "name": name, "model": {"block": 16, "overlap": 8, **model},
            "data": {"train": {"volumes": str(tmp_path / "parts.json")},
                     "test": {"volumes": str(tmp_path / "hard.json")},
                     "workers": 0, "volumes": {"crop": {"size": 16, "around_defect": 0.0}, "closed_air": False}},
            "train": {"epochs": 1, "samples_per_epoch": 4, "batch_size": 2, "device": "cpu"},
        }  # fmt: skip
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return tmp_path


def arguments(folder: Path, **changes: object) -> list[object]:
    settings: dict[str, object] = {
        "--cfg": folder / "net.yaml",
        "--autoencoder": folder / "vae.yaml",
        "--models": "vae",
        "--labeler": "vae",
        "--labels": "otsu_fixed,self",
        "--threshold": 0.02,
        "--folds": 2,
        "--out": folder / "out",
    }
    return [part for pair in (settings | {f"--{k}": v for k, v in changes.items()}).items() for part in pair]


@pytest.mark.slow
def test_folds_learn_from_the_other_parts_and_go_on_where_they_were(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = folder / "out"
    done = run(*arguments(folder))
    assert done.exit_code == 0, done.output
    assert "Table 7" in done.output
    names = {path.stem for path in (out / "results" / "seed0-fold2").iterdir()}
    assert names == {"vae", "unet-on-otsu_fixed", "unet-on-self"}
    record = json.loads((out / "results" / "seed0-fold2" / "unet-on-self.json").read_text())
    used = yaml.safe_load((Path(record["run"]) / "config.yaml").read_text())
    learned = json.loads(Path(used["data"]["train"][0]["volumes"]).read_text())["volumes"]
    held_out = json.loads(Path(used["data"]["val"]["volumes"]).read_text())["volumes"]
    assert [Path(entry["file"]).name for entry in learned] == ["part_1.tif"]
    assert [Path(entry["file"]).name for entry in held_out] == ["part_2.tif"]
    assert Path(held_out[0]["labels"]).name == "labels_2.tif"
    assert used["seed"] == 1
    assert set(record["hard"]) == {"raw"}
    otsu = json.loads((out / "results" / "seed0-fold2" / "unet-on-otsu_fixed.json").read_text())
    assert otsu["label_quality"] == {"precision": 1, "recall": 1, "dice": 1}  # 4 x 3 x 4 voxels, deep inside
    page = (out / "report.html").read_text()
    assert page.count("data:image/jpeg;base64") == 2
    assert "Table 8" in page

    def fail(config: object, resume: object = None) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(detectors.training, "train", fail)
    (out / "report.html").unlink()
    again = run(*arguments(folder))
    assert again.exit_code == 0, again.output
    assert (out / "report.html").is_file()
    check_one_line(run(*arguments(folder, threshold=0.03)), "plan.json", "choose another --out")


def test_a_training_that_was_interrupted_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {"nets": "none", "folds": 1}
    run(*arguments(folder, **chosen))
    (path,) = (folder / "out" / "results" / "seed0-fold1").iterdir()
    first = json.loads(path.read_text())
    path.unlink()  # as if the process had died before it was written
    assert run(*arguments(folder, **chosen)).exit_code == 0
    second = json.loads(path.read_text())
    assert (second["run"], second["hard"]) == (first["run"], first["hard"])


def test_a_dry_run_trains_nothing_and_says_what_it_would_cost(folder: Path) -> None:
    done = run(*arguments(folder), "--dry-run")
    assert done.exit_code == 0, done.output
    assert "29.024" in done.output
    assert "6 trainings here" in done.output
    assert not (folder / "out").exists()


def test_bad_calls_end_in_one_line(folder: Path) -> None:
    check_one_line(run(*arguments(folder, folds=3)), "3 folds", "data.train: 2", "--folds")
    check_one_line(run(*arguments(folder, models="vae,gan")), "--models", "'gan'")
    check_one_line(run(*arguments(folder, labeler="ce_vae")), "ce_vae", "--labeler")
    check_one_line(run(*arguments(folder, cfg=folder / "vae.yaml")), "'vae'", "am_small_unet")
    check_one_line(run(*arguments(folder, autoencoder=folder / "net.yaml")), "no autoencoder", "am_small_vae")
    check_one_line(run(*arguments(folder), "--set", f"data.train.0.volumes={folder / 'bare.json'}"), "part_1.tif",
                   "no labels")  # fmt: skip
    check_one_line(run(*arguments(folder), "--set", f"data.train.0.volumes={folder / 'hard.json'}"), "data.train: 1")
    check_one_line(run(*arguments(folder), "--set", "data.test=null"), "data.test is null")
    check_one_line(run(*arguments(folder), "--extremes"), "not simulated", "--extremes")
    assert not (folder / "out").exists()
