"""Which layers go back to float32 first, and how far boxes move."""

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from exported_models import TINY_CENTER_NET, export_model
from hypothesis import given
from hypothesis import strategies as st

from data.synthesis.phantom import make_phantom
from detectors.boxes.center_net import CenterNetConfig
from detectors.export import layer_ranking
from detectors.export.box_shift import box_shift
from detectors.export.int8 import Quantizer
from detectors.export.layer_ranking import first_layers, rank_layers
from detectors.export.quantize import record_feeds
from detectors.runtime.folder import GRAPH
from detectors.runtime.predictor import ExportedPredictor


def answer(boxes: list[list[float]], scores: list[float], labels: list[int] | None = None) -> dict[str, np.ndarray]:
    """Return detections of one radiograph."""
    return {
        "boxes": np.array(boxes, np.float32).reshape(-1, 4),
        "scores": np.array(scores, np.float32),
        "labels": np.array(labels or [1] * len(scores)),
    }


def test_a_shift_is_the_median_weighted_by_scores() -> None:
    still, half, gone = [0, 0, 10, 10], [0, 0, 10, 5], [50, 50, 60, 60]
    after = answer([still], [0.9])
    assert box_shift([(answer([still], [0.1]), after)]) == 0
    assert box_shift([(answer([half], [0.1]), after)]) == pytest.approx(0.5)  # IoU 50 / 100
    assert box_shift([(answer([gone], [0.1]), after)]) == 1
    assert box_shift([(answer([still], [0.1], [2]), after)]) == 1  # of another label
    assert box_shift([(answer([half, gone], [0.6, 0.3]), after)]) == pytest.approx(0.5)
    assert box_shift([(answer([half, gone], [0.3, 0.6]), after)]) == 1
    over_radiographs = [(answer([still], [0.5]), after), (answer([half], [0.4]), after), (answer([gone], [0.3]), after)]
    assert box_shift(over_radiographs) == pytest.approx(0.5)
    assert box_shift([(answer([], []), after)]) == 0
    assert box_shift([(answer([still], [0.1]), answer([], []))]) == 1


@given(st.lists(st.tuples(st.floats(0.5, 40), st.floats(0.01, 1)), min_size=1, max_size=12))
def test_a_model_never_moves_from_itself(sizes: list[tuple[float, float]]) -> None:
    found = answer([[1, 2, 1 + size, 2 + size] for size, _ in sizes], [score for _, score in sizes])
    assert box_shift([(found, found)]) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("count", [4, 70])
def test_layers_are_ranked_by_the_square_of_what_they_move_over_what_they_cost(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A graph is a file that holds how many pixels each layer left in 8 bits takes off a box of 100."""
    layers = [f"layer{k}" for k in range(count)]
    random = np.random.default_rng(count)
    moved = {name: float(random.integers(1, 20)) for name in layers}

    def write(path: Path, kept: Iterable[str], corrected: bool = True) -> None:
        assert not corrected  # biases are the mean, rounding is the noise
        path.write_text(str(sum(moved[name] for name in set(layers) - set(kept))))

    quantizer: Any = SimpleNamespace(
        inner=layers, layers=["first", *layers], products={name: int(random.integers(1, 9)) for name in layers},
        write=write,
    )  # fmt: skip

    class Model:
        session, engine, threads = 0.0, "onnxruntime", 1
        using = ExportedPredictor.using

        def in_pixels(self, image: np.ndarray) -> SimpleNamespace:
            return SimpleNamespace(detections=answer([[0, 0, 100, 100 - self.session]], [1.0]))

    exported: Any = Model()
    monkeypatch.setattr(layer_ranking, "open_session", lambda path, engine, threads: float(path.read_text()))
    groups = rank_layers(quantizer, exported, [np.zeros((4, 4), np.float32)] * 3, tmp_path)
    assert exported.session == 0.0
    assert sorted(name for group in groups for name in group) == sorted(layers)
    assert {len(group) for group in groups[1:]} <= ({1} if count == 4 else {1, 3})  # 24 groups of 70 layers
    gains = [
        sum(moved[name] for name in group) ** 2 / sum(quantizer.products[name] for name in group) for group in groups
    ]
    assert gains == sorted(gains, reverse=True)


def test_so_many_groups_stay_in_float_as_come_closest_to_a_share() -> None:
    groups, products = [["a", "b"], ["c"], ["d"]], {"a": 1, "b": 1, "c": 2, "d": 16}
    assert first_layers(groups, products, 0.0) == []
    assert first_layers([], products, 0.0) == []
    assert first_layers(groups, products, 0.01) == ["a", "b"]  # at least one
    assert first_layers(groups, products, 0.125) == ["a", "b"]
    assert first_layers(groups, products, 0.25) == ["a", "b", "c"]
    assert first_layers(groups, products, 0.9) == ["a", "b", "c", "d"]


def test_of_a_real_graph_every_inner_layer_has_a_place(tmp_path: Path) -> None:
    export_model(tmp_path, CenterNetConfig(**TINY_CENTER_NET))
    exported = ExportedPredictor(tmp_path / "exported")
    images = [make_phantom("castings", 3, index, style="easy", size=(96, 64)).pixels for index in range(2)]
    before = exported.in_pixels(images[0]).detections["boxes"]
    quantizer = Quantizer(tmp_path / "exported" / GRAPH, ["encode"], record_feeds(exported, images), tmp_path)
    groups = rank_layers(quantizer, exported, images, tmp_path)
    assert sorted(groups) == sorted([name] for name in quantizer.inner)
    assert groups == rank_layers(quantizer, exported, images, tmp_path)
    np.testing.assert_array_equal(exported.in_pixels(images[0]).detections["boxes"], before)
