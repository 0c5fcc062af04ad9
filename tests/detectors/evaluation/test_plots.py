"""Which radiographs are shown as examples, and what part of them."""

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread

from data.coco import CocoDataset
from data.radiograph import write_radiograph
from detectors.evaluation.curves import curve_of_hits
from detectors.evaluation.matching import match_detections
from detectors.evaluation.plots import choose_examples, crop_around, plot_examples, plot_precision_recall


def _dataset(images: int) -> CocoDataset:
    """Images 1 to 20 with one object each, the rest clean."""
    records = [{"id": k, "file_name": f"{k}.png", "width": 400, "height": 300} for k in range(1, images + 1)]
    annotations = [
        {"id": k, "image_id": k, "category_id": 1, "bbox": [200.0, 150.0, 20.0, 20.0], "area": 400, "iscrowd": 0}
        for k in range(1, min(images, 20) + 1)
    ]
    return CocoDataset(records, annotations, [{"id": 1, "name": "pore"}])


def _hit(image: int, score: float = 0.9, x: float = 200.0) -> dict:
    return {"image_id": image, "category_id": 1, "bbox": [x, 150.0, 20.0, 20.0], "score": score}


def test_worst_first_then_an_even_choice_with_few_clean_ones() -> None:
    dataset = _dataset(100)
    results = [_hit(k) for k in range(1, 20)]  # image 20 is missed
    results += [_hit(50, 0.8, 10.0), _hit(50, 0.7, 60.0), _hit(3, 0.2, 10.0)]
    table = match_detections(dataset, results)
    chosen = choose_examples(table, 0.5, 12)
    assert chosen[:2] == [49, 19]  # two false calls on a clean image, then the miss; the score of 0.2 is not shown
    assert len(chosen) == len(set(chosen)) == 12
    assert sum(image >= 20 for image in chosen[2:]) <= 2
    assert len(choose_examples(table, None, 3)) == 3
    assert choose_examples(match_detections(_dataset(0), []), None, 12) == []


@given(
    width=st.integers(20, 5000),
    height=st.integers(20, 2000),
    boxes=st.lists(st.tuples(*[st.floats(0, 1) for _ in range(4)]), max_size=5),
)
def test_crop_holds_every_box_or_all_of_one_side(width: int, height: int, boxes: list[tuple]) -> None:
    scaled = np.array([[x * width, y * height, w * (1 - x) * width, h * (1 - y) * height] for x, y, w, h in boxes])
    scaled = scaled.reshape(-1, 4)
    x0, y0, x1, y1 = crop_around(scaled, (height, width))
    assert 0 <= x0 < x1 <= width
    assert 0 <= y0 < y1 <= height
    for x, y, w, h in scaled:
        assert x0 <= x + 1e-6
        assert y0 <= y + 1e-6
        assert x + w <= x1 + 1e-6
        assert y + h <= y1 + 1e-6


def _count(picture: np.ndarray, color: tuple[int, int, int]) -> int:
    """Return how many pixels have a color, nearly."""
    return int((np.abs(picture[..., :3] * 255 - color).max(axis=-1) < 30).sum())


def test_hits_misses_and_false_calls_are_told_apart(tmp_path: Path) -> None:
    dataset = _dataset(1)
    write_radiograph(tmp_path / "1.png", np.random.default_rng(0).random((300, 400), dtype=np.float32))
    green, yellow, red = (0, 192, 138), (240, 228, 66), (255, 90, 60)
    pictures = {}
    for name, results in {"hit": [_hit(1)], "miss": [], "false": [_hit(1), _hit(1, 0.8, 100.0)]}.items():
        plot_examples(match_detections(dataset, results), tmp_path, tmp_path / "out.png", None)
        picture = imread(tmp_path / "out.png")
        pictures[name] = [_count(picture[: int(len(picture) * 0.85)], color) for color in (green, yellow, red)]
    for seen, wanted in (("hit", [1, 0, 0]), ("miss", [0, 1, 0]), ("false", [1, 0, 1])):
        assert [count > 60 for count in pictures[seen]] == [bool(flag) for flag in wanted], pictures


def test_curves_of_several_runs_and_of_none(tmp_path: Path) -> None:
    curve = curve_of_hits(np.array([True, False, True]), np.array([0.9, 0.8, 0.7]), 2)
    nothing = curve_of_hits(np.zeros(0, bool), np.zeros(0), 2)
    plot_precision_recall({"one": curve, "two": nothing}, tmp_path / "pr.svg")
    plot_precision_recall({}, tmp_path / "none.png")
    assert (tmp_path / "pr.svg").stat().st_size > 1000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["none.png", "pr.svg"]
