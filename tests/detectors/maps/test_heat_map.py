"""Heat maps name their pixels."""

import torch

from detectors.maps.heat_map import HeatMap


def test_cells_keep_their_values_at_their_pixels_and_lines_lie_between() -> None:
    """At stride 2 from pixel center 1.5, pixels 1, 3 and 5 are cells, and 2 and 4 lie half way between."""
    values = torch.tensor([[0.0, 0.4, 1.0]])
    dense = HeatMap(values, stride=2, offset=1.5).per_pixel(3, 7)
    assert dense.shape == (3, 7)
    expected = torch.tensor([0.0, 0.0, 0.2, 0.4, 0.7, 1.0, 1.0])
    torch.testing.assert_close(dense, expected.expand(3, 7))


def test_rows_and_columns_are_not_exchanged() -> None:
    """A map that rises downwards rises downwards at every pixel."""
    dense = HeatMap(torch.tensor([[0.0, 0.0], [1.0, 1.0]]), stride=4, offset=2).per_pixel(8, 9)
    assert (dense.diff(dim=0) >= 0).all()
    assert (dense.diff(dim=1).abs() < 1e-6).all()


def test_a_map_of_single_pixels_is_returned_as_it_is() -> None:
    """Nothing is interpolated at stride 1."""
    values = torch.rand(5, 6)
    assert HeatMap(values, 1, 0.5).per_pixel(5, 6) is values
