"""Several radiographs at once: the same results in the same order, and no more memory than there is."""

import threading
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from exported_models import TINY_CENTER_NET, export_model

from data.errors import InputError
from data.radiograph import write_radiograph
from data.synthesis.phantom import make_phantom
from detectors.boxes.center_net import CenterNetConfig
from detectors.runs.predict_files import ahead, detect_in_files
from detectors.runtime import predictor as predictor_module
from detectors.runtime.predictor import ExportedPredictor
from detectors.runtime.session import ENGINES, Engine

COUNT = 7


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    export_model(folder, CenterNetConfig(**TINY_CENTER_NET))
    return folder / "exported"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("radiographs")
    paths = [folder / f"{index}.png" for index in range(COUNT)]
    for index, path in enumerate(paths):
        write_radiograph(path, make_phantom("castings", 0, index, size=(128, 96 + 8 * index)).pixels)
    return paths


@pytest.mark.parametrize("engine", ENGINES)
def test_radiographs_at_once_give_what_each_gives_alone(exported: Path, files: list[Path], engine: Engine) -> None:
    alone = ExportedPredictor(exported, engine=engine, threads=1)
    together = ExportedPredictor(exported, engine=engine, threads=3)
    assert alone.prepare_for(COUNT) == 1
    assert together.prepare_for(COUNT) == 3
    for file, (radiograph, found) in zip(files, detect_in_files(together, files), strict=True):
        expected = alone(file)
        assert radiograph.pixels.shape[0] == 96 + 8 * files.index(file)
        assert len(expected["scores"]) > 0
        for name, values in expected.items():
            np.testing.assert_allclose(found.detections[name], values, rtol=1e-5, atol=1e-4)


def test_one_radiograph_has_all_threads(exported: Path) -> None:
    predictor = ExportedPredictor(exported, threads=2)
    session = predictor.session
    assert predictor.prepare_for(1) == 1
    assert predictor.session is session


def test_large_radiographs_go_one_at_a_time(exported: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = ExportedPredictor(exported, threads=2)
    per_radiograph = predictor.folder.card["bytes_per_pixel"] * 128 * 144
    # Room for any one of them, but not for two.
    monkeypatch.setattr(predictor_module, "available_memory", lambda: int(1.5 * per_radiograph))
    predictor.prepare_for(COUNT)
    running, most, run = [0], [0], predictor.session.run
    count = threading.Lock()

    class Watched:
        def run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
            with count:
                running[0] += 1
                most[0] = max(most[0], running[0])
            time.sleep(0.01)
            try:
                return run(feeds)
            finally:
                with count:
                    running[0] -= 1

    predictor.session = Watched()
    assert len(list(detect_in_files(predictor, files[-3:]))) == 3
    assert most == [1]
    monkeypatch.setattr(predictor_module, "available_memory", lambda: int(0.5 * per_radiograph))
    with pytest.raises(InputError, match=r"6\.png: 128 x 144 pixels take more memory than there is"):
        list(detect_in_files(predictor, files[-1:]))


def test_what_is_made_ahead_comes_in_order_and_is_bounded() -> None:
    begun: list[int] = []

    def slow_at_first(item: int) -> int:
        begun.append(item)
        time.sleep(0.02 if item == 0 else 0)
        return 10 * item

    results = ahead(slow_at_first, range(50), threads=3)
    assert next(results) == 0
    assert len(begun) < 12
    assert list(results) == [10 * item for item in range(1, 50)]
