"""Prediction with a model whose boxes come out of a heat map."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from data.coco import CocoDataset
from data.errors import InputError
from data.gray_window import GrayWindow
from data.radiograph import Radiograph, read_radiograph, write_radiograph
from detectors.interface import Detections
from detectors.maps.heat_map import HeatMap
from detectors.runs import inference, reading
from detectors.runs.prediction import Predictor, predict_files


class BrightIsHot(nn.Module):
    """Half the gray value, at every second pixel, is the probability; the whole image is one detection."""

    def heat_map(self, image: Tensor) -> HeatMap:
        return HeatMap(image[0, ::2, ::2] / 2, stride=2, offset=0.5)

    def detections(self, image: Tensor, heat_map: HeatMap) -> Detections:
        height, width = image.shape[1:]
        boxes, labels = torch.tensor([[0.0, 0.0, width, height]]), torch.tensor([1])
        return {"boxes": boxes, "scores": heat_map.values.max()[None], "labels": labels}

    def forward(self, images: list[Tensor]) -> list[Detections]:
        return [self.detections(image, self.heat_map(image)) for image in images]


class WholeImage(nn.Module):
    """One detection an image and no heat map."""

    def forward(self, images: list[Tensor]) -> list[Detections]:
        return [BrightIsHot().detections(image, BrightIsHot().heat_map(image)) for image in images]


def make_predictor(model: nn.Module) -> Predictor:
    predictor = Predictor.__new__(Predictor)  # without a checkpoint
    predictor.model, predictor.device = model.eval(), torch.device("cpu")
    predictor.window, predictor.categories = None, [{"id": 1, "name": "defect"}]
    return predictor


@pytest.fixture
def radiographs(tmp_path: Path) -> Path:
    ramp = np.tile(np.linspace(0, 1, 41, dtype=np.float32), (20, 1))
    write_radiograph(tmp_path / "in" / "wide.png", ramp, 16)
    write_radiograph(tmp_path / "in" / "upright.png", ramp.T.copy(), 16)
    return tmp_path / "in"


def test_a_radiograph_is_read_once_and_pixels_do_as_well(
    radiographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []

    def count(path: Path, window: GrayWindow | None) -> Radiograph:
        read.append(path)
        return read_radiograph(path, window=window)

    monkeypatch.setattr(reading, "read_radiograph", count)
    predictor = make_predictor(BrightIsHot())
    predict_files(predictor, [radiographs], tmp_path / "out", 0.2)
    assert sorted(read) == [radiographs / "upright.png", radiographs / "wide.png"]
    of_file, of_pixels = predictor(read[0]), predictor(read_radiograph(read[0]).pixels)
    assert all(torch.equal(of_file[key], of_pixels[key]) for key in ("boxes", "scores", "labels"))


def test_the_window_of_the_run_is_applied_before_the_model(tmp_path: Path) -> None:
    write_radiograph(tmp_path / "dim.png", np.tile(np.linspace(0, 0.25, 41, dtype=np.float32), (20, 1)), 16)
    pixels = read_radiograph(tmp_path / "dim.png").pixels
    predictor = make_predictor(WholeImage())  # answers with half the brightest value
    assert float(predictor(pixels)["scores"][0]) == pytest.approx(0.125, abs=1e-4)
    predictor.window = GrayWindow("levels", 0, 32768)
    for radiograph in (pixels, tmp_path / "dim.png", read_radiograph(tmp_path / "dim.png", window=predictor.window)):
        assert float(predictor(radiograph)["scores"][0]) == pytest.approx(0.25, abs=1e-4)
    record = {"id": 1, "file_name": "dim.png", "width": 41, "height": 20}
    dataset = CocoDataset([record], [], predictor.categories)
    results, _ = inference.detect_dataset(
        predictor.model, dataset, tmp_path, predictor.categories, predictor.window, predictor.device
    )
    assert results[0]["score"] == pytest.approx(0.25, abs=1e-4)


def test_heat_maps_are_written_as_16_bit_probabilities(radiographs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    images, results = predict_files(make_predictor(BrightIsHot()), [radiographs], out, 0.2)
    assert [(i["width"], i["height"]) for i in images] == [(20, 41), (41, 20)]
    assert [r["score"] for r in results] == [0.5, 0.5]
    stored = cv2.imread(str(out / "heat_maps" / "wide.png"), cv2.IMREAD_UNCHANGED)
    assert stored.dtype == np.uint16
    assert stored.shape == (20, 41)
    assert np.abs(stored[3] / 65535 - np.linspace(0, 0.5, 41)).max() < 1e-3
    assert json.loads((out / "detections.json").read_text()) == results
    assert {p.name for p in tmp_path.iterdir()} == {"in", "out"}


def test_overlays_show_boxes_and_heat_map_side_by_side(radiographs: Path, tmp_path: Path) -> None:
    predict_files(make_predictor(BrightIsHot()), [radiographs], tmp_path / "out", 0.2)
    wide, upright = (cv2.imread(str(tmp_path / "out" / "overlays" / f"{name}.png")) for name in ("wide", "upright"))
    assert wide.shape == (40, 41, 3)
    assert upright.shape == (41, 40, 3)
    assert (upright[:, 20:] == np.rot90(wide[20:], axes=(1, 0))[:, ::-1]).all()


@pytest.mark.parametrize(("model", "heat_maps"), [(BrightIsHot(), False), (WholeImage(), True)])
def test_no_heat_maps_where_none_are_made_or_wanted(
    model: nn.Module, heat_maps: bool, radiographs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    predict_files(make_predictor(model), [radiographs], out, 0.2, heat_maps=heat_maps)
    assert {p.name for p in out.iterdir()} == {"images.json", "detections.json", "overlays"}
    assert cv2.imread(str(out / "overlays" / "wide.png")).shape == (20, 41, 3)


def test_a_broken_file_leaves_what_was_there(radiographs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict_files(make_predictor(BrightIsHot()), [radiographs / "wide.png"], out, 0.2)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    (radiographs / "zz_torn.png").write_bytes((radiographs / "wide.png").read_bytes()[:60])
    with pytest.raises(InputError, match=r"zz_torn\.png"):
        predict_files(make_predictor(BrightIsHot()), [radiographs], out, 0.2)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before
    assert {p.name for p in tmp_path.iterdir()} == {"in", "out"}


def test_its_own_pictures_are_no_radiographs(radiographs: Path) -> None:
    """Predicted into the folder of the radiographs, and then once more."""
    predictor = make_predictor(BrightIsHot())
    for _ in range(2):
        images, _ = predict_files(predictor, [radiographs], radiographs / "found", 0.2)
        assert sorted(Path(image["file_name"]).name for image in images) == ["upright.png", "wide.png"]
    assert len(list((radiographs / "found").rglob("*.png"))) == 4


def test_radiographs_of_one_name_get_pictures_of_their_own(radiographs: Path, tmp_path: Path) -> None:
    for folder in ("a/x", "b/x"):
        (radiographs / folder).mkdir(parents=True)
        (radiographs / folder / "wide.png").write_bytes((radiographs / "wide.png").read_bytes())
    predict_files(make_predictor(BrightIsHot()), [radiographs], tmp_path / "out", 0.2, heat_maps=False)
    names = {path.name for path in (tmp_path / "out" / "overlays").iterdir()}
    assert names == {"upright.png", "wide.png.png", "a_x_wide.png.png", "b_x_wide.png.png"}
