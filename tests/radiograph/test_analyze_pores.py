"""analyze-pores and its siblings as a user runs them: what they write, and one line for what is wrong."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner, Result
from failures import check_one_line

from data.volumes.labels import MATERIAL, PORE
from data.volumes.reading import read_volume
from data.volumes.writing import write_volume
from radiograph.commands import analyze_pores, evaluate, make_phantoms, train

SHAPE = (40, 48, 48)


def truth() -> np.ndarray:
    """Labels of a block with two pores: a ball of 4 voxels radius and a cube of 3 voxels a side."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[4:36, 6:42, 6:42] = MATERIAL
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    labels[(z - 20) ** 2 + (y - 20) ** 2 + (x - 22) ** 2 <= 16] = PORE
    labels[28:31, 30:33, 30:33] = PORE
    return labels


def gray() -> np.ndarray:
    """The block as a scan: air at 9,000, metal at 30,000, a little noise."""
    noise = np.random.default_rng(0).normal(0, 400, SHAPE)
    return (np.where(truth() == MATERIAL, 30_000, 9_000) + noise).astype(np.uint16)


def run(command: object, *arguments: object) -> Result:
    return CliRunner().invoke(command.main, [str(argument) for argument in arguments])  # type: ignore[attr-defined]


def test_two_pores_are_measured(tmp_path: Path) -> None:
    scan = write_volume(tmp_path / "scan.tif", gray(), (0.02, 0.02, 0.02))
    out = tmp_path / "out"
    limits = ("--max-porosity", "0.1", "--max-diameter", "1")
    done = run(analyze_pores, scan, "--otsu-fixed", "--out", out, *limits)
    assert done.exit_code == 0, done.output
    names = {path.name for path in out.iterdir()}
    assert names == {"labels.tif", "overview.png", "pores.csv", "pores.json", "report.html", "scores.npy",
                     "sections.csv", "summary.json"}  # fmt: skip
    labels = read_volume(out / "labels.tif")
    assert labels.shape == SHAPE
    np.testing.assert_array_equal(np.asarray(labels.values[:]) > 0, truth() == PORE)
    first, second = csv.DictReader((out / "pores.csv").open())
    ball = int(((truth() == PORE).sum()) - 27)
    assert (int(first["voxels"]), int(second["voxels"])) == (ball, 27)
    assert [float(first[f"center_{axis}"]) for axis in "zyx"] == [20, 20, 22]
    assert float(second["diameter_mm"]) == pytest.approx(0.02 * np.cbrt(6 * 27 / np.pi), rel=1e-4)
    assert float(first["surface_gap_voxels"]) == 10  # metal at y 6 to 15 between the surface and the ball at 16
    summary = json.loads((out / "summary.json").read_text())
    assert summary["porosity_percent"] == pytest.approx(100 * (ball + 27) / (32 * 36 * 36))
    assert [(row["limit"], row["kept"]) for row in summary["limits"]] == [
        ("porosity_percent", False), ("diameter", True),
    ]  # fmt: skip
    assert "NOT within your limit" in done.output
    assert "base64" in (out / "report.html").read_text()


def different_sizes(folder: Path) -> Path:
    write_volume(folder / "scan", gray())
    tifffile.imwrite(folder / "scan" / "slice_00007.tif", gray()[7, :40])
    return folder / "scan"


def missing_slice(folder: Path) -> Path:
    write_volume(folder / "scan", gray())
    (folder / "scan" / "slice_00007.tif").unlink()
    return folder / "scan"


def no_material(folder: Path) -> Path:
    return write_volume(folder / "scan.tif", np.random.default_rng(0).normal(9_000, 400, SHAPE).astype(np.uint16))


def no_air(folder: Path) -> Path:
    return write_volume(folder / "scan.tif", np.random.default_rng(0).normal(30_000, 400, SHAPE).astype(np.uint16))


def not_a_number(folder: Path) -> Path:
    values = gray().astype(np.float32)
    values[37, 40, 40] = np.nan
    return write_volume(folder / "scan.npy", values)


def wrong_sidecar(folder: Path) -> Path:
    path = write_volume(folder / "scan.raw", gray())
    content = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(content | {"shape": [41, 48, 48]}))
    return path


FAULTS: dict[str, tuple[Callable[[Path], Path], tuple[str, ...], tuple[str, ...]]] = {
    "slices of different sizes": (different_sizes, (), ("slice_00007.tif", "48")),
    "a missing slice": (missing_slice, (), ("7",)),
    "no material": (no_material, (), ("scan.tif", "material")),
    "no air": (no_air, (), ("scan.tif", "air")),
    "no material, gray levels given": (no_material, ("--air", "9000", "--metal", "30000"), ("scan.tif", "material")),
    "no air, gray levels given": (no_air, ("--air", "9000", "--metal", "30000"), ("scan.tif", "no air")),
    "NaN": (not_a_number, (), ("z 37, y 40, x 40", "nan")),
    "NaN, gray levels given": (not_a_number, ("--air", "9000", "--metal", "30000"), ("z 37, y 40, x 40", "nan")),
    "a wrong sidecar": (wrong_sidecar, (), ("scan.", "41")),
    "one gray level": (lambda folder: write_volume(folder / "scan.tif", gray()), ("--air", "9000"), ("--metal",)),
    "a reference area larger than a slice": (
        lambda folder: write_volume(folder / "scan.tif", gray()), ("--reference", "60"), ("60 voxels", "--reference"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("method", ["--otsu", "--otsu-fixed"])
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_line_and_nothing_is_written(name: str, method: str, tmp_path: Path) -> None:
    make, options, words = FAULTS[name]
    scan = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    check_one_line(run(analyze_pores, scan, method, "--out", tmp_path / "out", *options), *words)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_disk_without_room_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = write_volume(tmp_path / "scan.tif", gray())
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=64 * 2**20 + 8 * 40 * 48 * 48))
    check_one_line(run(analyze_pores, scan, "--otsu-fixed", "--out", tmp_path / "out"), "free", "make room")
    assert not (tmp_path / "out").exists()
    arguments = ("--kind", "ct_castings", "--count", "2", "--size", "64x32", "--out", tmp_path / "set")
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=64 * 2**20))
    check_one_line(run(make_phantoms, *arguments), "free", "make room")
    assert not list((tmp_path / "set").glob("*.tif"))


def test_a_mask_of_another_shape_is_one_line(tmp_path: Path) -> None:
    write_volume(tmp_path / "scan.tif", gray())
    write_volume(tmp_path / "pores.tif", truth()[:-1])
    manifest = tmp_path / "volumes.json"
    manifest.write_text(json.dumps({"volumes": [{"file": "scan.tif", "labels": "pores.tif"}]}))
    words = ("pores.tif", "39 x 48 x 48", "40 x 48 x 48")
    check_one_line(run(evaluate, "--cfg", "ct_otsu", "--data", manifest, "--out", tmp_path / "out"), *words)
    sources = [f"data.{part}.volumes={manifest}" for part in ("train", "val", "test")]
    options = [word for source in [*sources, f"output={tmp_path / 'runs'}"] for word in ("--set", source)]
    check_one_line(run(train, "--cfg", "ct_unet", *options), *words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pores.tif", "scan.tif", "volumes.json"]


@pytest.mark.slow
def test_from_nothing_to_a_report(tmp_path: Path) -> None:
    """Simulate, train, evaluate, analyze, and analyze with thresholds: every command of the page on volumes."""
    made = run(make_phantoms, "--kind", "ct_am", "--count", "2", "--size", "48x40", "--out", tmp_path / "set")
    assert made.exit_code == 0, made.output
    manifest = tmp_path / "set" / "volumes.json"
    settings = [
        *(f"data.{part}.volumes={manifest}" for part in ("train", "val", "test")), f"output={tmp_path / 'runs'}",
        "model.widths=[4,8]", "model.block=32", "model.overlap=8", "data.volumes.crop.size=16", "data.workers=0",
        "train.epochs=1", "train.samples_per_epoch=8", "train.batch_size=4", "train.validate_every=1",
        "train.device=cpu",
    ]  # fmt: skip
    trained = run(train, "--cfg", "ct_unet", *(word for value in settings for word in ("--set", value)))
    assert trained.exit_code == 0, trained.output
    (folder,) = (tmp_path / "runs" / "ct_unet").iterdir()
    metrics = json.loads((folder / "metrics.json").read_text())
    assert 0 <= metrics["voxel_f1_in_part"] <= 1
    assert {"pores.csv", "pores_by_size.json", "volumes.json"} <= {path.name for path in folder.iterdir()}
    again = run(evaluate, "--run", folder, "--out", tmp_path / "again")
    assert again.exit_code == 0, again.output
    assert json.loads((tmp_path / "again" / "metrics.json").read_text()) == metrics
    scan = tmp_path / "set" / "volume_0001.tif"
    out = tmp_path / "pores"
    arguments = ("--run", folder, "--threshold", "0.03", "--out", out)
    found = run(analyze_pores, scan, *arguments)
    assert found.exit_code == 0, found.output
    assert read_volume(out / "labels.tif").shape == read_volume(scan).shape
    written = (out / "scores.npy").stat().st_mtime_ns
    assert run(analyze_pores, scan, *arguments, "--max-count", "0").exit_code == 0
    assert (out / "scores.npy").stat().st_mtime_ns == written  # the map is taken as it is
