"""Exported folders that are changed, incomplete, of another version, or for a runtime that is not there."""

import json
import sys
from pathlib import Path

import pytest
from exported_models import TINY_CENTER_NET, export_model

from data.errors import InputError
from detectors.boxes.center_net import CenterNetConfig
from detectors.runtime import predictor as predictor_module
from detectors.runtime.folder import CARD, GRAPH, SUMS, read_exported, write_sums
from detectors.runtime.predictor import ExportedPredictor


@pytest.fixture(scope="module")
def exported_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    export_model(folder, CenterNetConfig(**TINY_CENTER_NET))
    return folder / "exported"


@pytest.fixture
def exported(exported_once: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "exported"
    copy.mkdir()
    for file in exported_once.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy


def change_card(folder: Path, **fields: object) -> None:
    card = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps(card | fields))
    write_sums(folder)


def one_line(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        ExportedPredictor(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_whole_folder_is_read(exported: Path) -> None:
    folder = read_exported(exported)
    assert (folder.name, folder.form, folder.precision) == ("center_net", "boxes", "float32")
    assert folder.categories == [{"id": 1, "name": "defect 1"}]
    assert folder.window.kind == "auto"


@pytest.mark.parametrize("name", [CARD, GRAPH])
def test_a_changed_file_is_refused(exported: Path, name: str) -> None:
    content = bytearray((exported / name).read_bytes())
    place = content.rindex(b"0.01") if name == CARD else len(content) // 2
    content[place] ^= 1
    (exported / name).write_bytes(content)
    assert f"{name}: is not the file that was exported" in one_line(exported)


def test_a_missing_file_is_refused(exported: Path) -> None:
    (exported / GRAPH).unlink()
    assert f"{GRAPH}: is missing" in one_line(exported)
    (exported / SUMS).unlink()
    assert f"{SUMS}: is missing or damaged" in one_line(exported)


def test_another_version_is_refused(exported: Path) -> None:
    change_card(exported, version=1)
    assert "exported in version 1" in one_line(exported)


def test_a_foreign_card_is_refused(exported: Path) -> None:
    change_card(exported, format="something else")
    assert "is no card of an exported model" in one_line(exported)
    (exported / CARD).write_text("[1")
    assert "cannot be read" in one_line(exported)


def test_a_card_without_its_window_is_refused(exported: Path) -> None:
    change_card(exported, window={"kind": "auto"})
    assert "lacks what prediction needs ('trained_on')" in one_line(exported)


def test_a_graph_that_is_none_is_refused(exported: Path) -> None:
    (exported / GRAPH).write_bytes(b"no graph")
    write_sums(exported)
    assert "ONNX Runtime cannot load it" in one_line(exported)
    change_card(exported, runtime="openvino")
    assert "OpenVINO cannot load it" in one_line(exported)


def test_a_missing_runtime_is_named(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("onnxruntime", "openvino"):
        monkeypatch.setitem(sys.modules, name, None)
    assert "needs onnxruntime, which is not installed; python -m pip install onnxruntime" in one_line(exported)


def test_another_runtime_takes_the_place_of_one_that_is_not_there(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ExportedPredictor(exported).engine == "onnxruntime"
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert ExportedPredictor(exported).engine == "openvino"
    with pytest.raises(InputError, match="needs onnxruntime, which is not installed"):
        ExportedPredictor(exported, engine="onnxruntime")


def test_a_radiograph_larger_than_memory_is_refused_before_it_is_tried(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np

    from data.radiograph import write_radiograph
    from detectors.runs.predict_files import predict_files

    monkeypatch.setattr(predictor_module, "available_memory", lambda: 10_000)
    write_radiograph(tmp_path / "large.png", np.full((64, 96), 0.5, np.float32))
    with pytest.raises(InputError, match=r"large\.png: 96 x 64 pixels take more memory than there is"):
        predict_files(ExportedPredictor(exported), [tmp_path / "large.png"], tmp_path / "out", 0.5)
    assert not (tmp_path / "out").exists()
