"""Pictures drawn with NumPy alone: frames, digits, colors."""

import cv2
import numpy as np

from data.drawing import PREDICTION_COLOR, draw_boxes, draw_heat_map


def test_a_frame_lies_around_its_box_and_is_cut_at_the_border() -> None:
    drawn = draw_boxes(np.zeros((12, 14), np.float32), [[-3, 2, 4.5, 6], [20, 20, 30, 30]], color=(255, 0, 0))
    red = (drawn == (255, 0, 0)).all(axis=2)
    assert red[1, :6].all()
    assert red[6, :6].all()
    assert red[1:7, 5].all()
    assert red.sum() == 2 * 6 + 4
    assert not red[2:6, :5].any()


def test_scores_are_written_above_or_below_and_can_be_read() -> None:
    boxes = [[10, 30, 40, 50], [60, 2, 90, 20]]
    plain, written = (
        draw_boxes(np.zeros((80, 120), np.float32), boxes, s, PREDICTION_COLOR) for s in (None, [1, 0.25])
    )
    ink = (plain != written).any(axis=2)
    rows, columns = np.nonzero(ink)
    assert set(rows) == {*range(20, 27), *range(23, 30)}
    above, below = ink[:, :55], ink[:, 55:]
    assert "".join(map(str, above[20:27, 9:14].astype(int).ravel())) == "00100" + "01100" + "00100" * 4 + "01110"
    assert below[23:30].sum() > 20
    assert columns.max() < 60 - 1 + 4 * 6


def test_the_colors_of_a_heat_map_are_those_of_the_usual_map() -> None:
    values = np.linspace(0, 1, 256, dtype=np.float32)[None].repeat(2, axis=0)
    share = (0.15 + 0.45 * values)[..., None]
    tint = cv2.applyColorMap(np.rint(values * 255).astype(np.uint8), cv2.COLORMAP_JET)[..., ::-1]
    assert np.abs(draw_heat_map(np.zeros_like(values), values) - share * tint).max() < 6
