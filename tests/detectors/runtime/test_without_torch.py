"""Prediction with exported models needs NumPy and ONNX Runtime, and none of what trains them."""

import json
import subprocess
from configparser import ConfigParser
from pathlib import Path

import numpy as np
import pytest
from dicom_files import write_dicom
from exported_models import TINY_CENTER_NET, export_model
from missing_packages import run_without

from data.radiograph import read_radiograph, write_radiograph
from data.synthesis.phantom import make_phantom
from detectors.boxes.center_net import CenterNetConfig
from detectors.patches.xnet import XnetV2Config
from detectors.schema import ModelSection

ROOT = Path(__file__).parents[3]
TRAINING = [
    "torch", "torchvision", "accelerate", "albumentations", "cv2", "matplotlib", "pycocotools", "safetensors", "scipy",
    "skimage", "tensorboard", "xraydb", "onnx",
]  # fmt: skip


def predict(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run_without(TRAINING, "predict", *arguments)


MAP = XnetV2Config(regions={"min_area": 4, "lowest": 0.01, "prominence": 0.0, "dilation": 1, "levels": 5})


@pytest.mark.parametrize(
    ("section", "base"),
    [
        pytest.param(CenterNetConfig(**TINY_CENTER_NET), "center_net", id="boxes"),
        pytest.param(MAP, "xnet_v2", id="map", marks=pytest.mark.slow),
    ],
)
def test_predict_works_where_only_the_runtime_is_installed(section: ModelSection, base: str, tmp_path: Path) -> None:
    export_model(tmp_path, section, base=base)
    pixels = make_phantom("castings", 1, 1, size=(140, 100)).pixels
    write_radiograph(tmp_path / "in" / "casting.png", pixels, 16)
    levels = np.rint(pixels * 4095).astype(np.uint16)
    write_dicom(tmp_path / "in" / "film.dcm", levels, 12, PixelSpacing=[0.1, 0.1])
    done = predict("--run", str(tmp_path / "exported"), "--out", str(tmp_path / "out"), str(tmp_path / "in"))
    assert done.returncode == 0, done.stderr
    images = json.loads((tmp_path / "out" / "images.json").read_text())["images"]
    assert [(Path(i["file_name"]).name, i["width"], i["height"]) for i in images] == [
        ("casting.png", 140, 100), ("film.dcm", 140, 100),
    ]  # fmt: skip
    results = json.loads((tmp_path / "out" / "detections.json").read_text())
    scores = [[r["score"] for r in results if r["image_id"] == k] for k in (1, 2)]
    assert len(scores[0]) > 0
    assert scores[0][:10] == pytest.approx(scores[1][:10], abs=1e-3)  # 12 bits round otherwise than 16
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["detections.json", *(["heat_maps"] if base == "xnet_v2" else []), "images.json", "overlays"]
    if base == "xnet_v2":
        heat = read_radiograph(tmp_path / "out" / "heat_maps" / "film.png").pixels
        assert heat.shape == (100, 140)
        assert heat.std() > 0


@pytest.mark.parametrize("missing", [TRAINING, ["safetensors"]], ids=["training", "safetensors"])
def test_packaged_weights_without_torch_answer_as_with_it(missing: list[str], tmp_path: Path) -> None:
    write_radiograph(tmp_path / "casting.png", make_phantom("castings", 1, 1, size=(200, 160)).pixels, 16)
    answers = []
    for absent, out in ((missing, tmp_path / "light"), ([], tmp_path / "full")):
        done = run_without(absent, "predict", "--no-overlays", "--out", str(out), str(tmp_path / "casting.png"))
        assert done.returncode == 0, done.stderr
        answers.append(json.loads((out / "detections.json").read_text()))
    light, full = (np.array([[*found["bbox"], found["score"]] for found in answer]) for answer in answers)
    assert len(full) > 10
    assert light == pytest.approx(full, abs=1e-2)


def test_a_run_without_torch_is_refused_in_one_line(tmp_path: Path) -> None:
    write_radiograph(tmp_path / "casting.png", np.full((40, 40), 0.5, np.float32))
    done = predict("--run", str(tmp_path / "best.ckpt"), str(tmp_path / "casting.png"))
    assert done.returncode == 2
    assert "error: this needs the package" in done.stderr
    assert "pip install 'radiograph-detectors[train]'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_exporting_without_onnx_is_refused_in_one_line(tmp_path: Path) -> None:
    done = run_without(["onnx"], "export", "--run", "casting", "--out", str(tmp_path / "exported"))
    assert done.returncode == 2
    assert "error: this needs the package onnx" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "exported").exists()


def test_what_is_always_installed_and_what_runs_exported_models_hold_nothing_that_trains() -> None:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = setup["options.extras_require"]
    light = setup["options"]["install_requires"].split() + extras["runtime"].split()
    assert "onnxruntime>=1.20" in light
    for package in ("torch", "scipy", "opencv-python-headless", "matplotlib"):
        assert not any(line.startswith(package) for line in light)
        assert any(line.startswith(package) for line in extras["train"].split())
