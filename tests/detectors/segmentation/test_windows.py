"""Blended windows: no seams, no lost pixels, the whole prediction where the image fits, bounded memory."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from data.errors import InputError
from detectors.segmentation.windows import axis_weights, double_precision_device, predict_in_windows
from detectors.tiles import tile_starts

SIZES = st.integers(1, 90)


def identity(windows: Tensor) -> Tensor:
    return windows[:, 0]


@settings(max_examples=60, deadline=None)
@given(
    height=SIZES, width=SIZES, size=st.integers(2, 40), share=st.floats(0, 0.99), value=st.floats(0, 1, width=32),
    batch=st.integers(1, 5),
)  # fmt: skip
def test_a_constant_map_stays_exactly_constant(
    height: int, width: int, size: int, share: float, value: float, batch: int
) -> None:
    overlap = int(share * size)
    blended = predict_in_windows(
        lambda windows: torch.full_like(windows[:, 0], value), torch.zeros(1, height, width), size, overlap, batch
    )
    assert blended.shape == (height, width)
    assert blended.dtype == torch.float32
    assert (blended == value).all()


@settings(max_examples=60, deadline=None)
@given(height=SIZES, width=SIZES, size=st.integers(2, 40), share=st.floats(0, 0.99))
def test_a_prediction_of_each_pixel_by_itself_is_given_back(height: int, width: int, size: int, share: float) -> None:
    image = torch.rand(1, height, width, generator=torch.Generator().manual_seed(height * 100 + width))
    blended = predict_in_windows(identity, image, size, int(share * size))
    assert torch.equal(blended, image[0])


@settings(max_examples=40, deadline=None)
@given(length=st.integers(5, 200), size=st.integers(2, 60), share=st.floats(0, 0.99))
def test_weights_sum_to_one_and_never_vanish(length: int, size: int, share: float) -> None:
    size = min(size, length)
    overlap = int(share * size)
    starts = tile_starts(length, size, size - overlap)
    weights = axis_weights(length, starts, size, overlap)
    total = torch.zeros(length, dtype=torch.float64)
    for start, weight in zip(starts, weights, strict=True):
        total[start : start + size] += weight
    assert torch.allclose(total, torch.ones_like(total), atol=1e-12)
    assert (weights > 0).all()


def test_windows_of_different_opinion_meet_without_a_step() -> None:
    """Two windows of 16 that share 8: the first says 0, the second 1, and the raised cosine lies between."""
    opinions = iter([0.0, 1.0])
    blended = predict_in_windows(
        lambda windows: torch.stack([torch.full_like(w[0], next(opinions)) for w in windows]),
        torch.zeros(1, 16, 24), size=16, overlap=8,
    )  # fmt: skip
    inside = torch.sin(torch.pi / 2 * (torch.arange(8) + 0.5) / 8) ** 2
    assert torch.equal(blended[:, :8], torch.zeros(16, 8))
    assert torch.allclose(blended[:, 8:16], inside.expand(16, 8), atol=1e-6)
    assert torch.equal(blended[:, 16:], torch.ones(16, 8))


def test_the_plain_oracle_with_full_accumulators() -> None:
    image = torch.rand(1, 50, 70, generator=torch.Generator().manual_seed(1))
    kernel = torch.rand(1, 1, 5, 5, generator=torch.Generator().manual_seed(2)) / 12

    def predict(windows: Tensor) -> Tensor:
        return F.conv2d(windows, kernel, padding=2)[:, 0]  # windows see zeros beyond their edges

    size, overlap = 20, 13
    top, bottom = torch.zeros(50, 70, dtype=torch.float64), torch.zeros(50, 70, dtype=torch.float64)
    place = (torch.arange(size) + 0.5).double()
    ramp = torch.sin(torch.pi / 2 * (torch.minimum(place, size - place) / overlap).clamp(max=1)) ** 2
    for y in tile_starts(50, size, 7):
        for x in tile_starts(70, size, 7):
            value = predict(image[None, :, y : y + size, x : x + size])[0]
            top[y : y + size, x : x + size] += value * ramp[:, None] * ramp
            bottom[y : y + size, x : x + size] += ramp[:, None] * ramp
    blended = predict_in_windows(predict, image, size, overlap, batch=3)
    assert torch.allclose(blended.double(), top / bottom, atol=1e-6)


def test_an_image_of_the_windows_size_is_predicted_as_a_whole() -> None:
    image = torch.rand(1, 32, 32)
    assert torch.equal(predict_in_windows(lambda w: w[:, 0].cumsum(1), image, 32, 8), image[0].cumsum(0))


@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (10, 10), (40, 3)])
def test_small_images_are_continued_by_their_own_pixels(shape: tuple[int, int]) -> None:
    seen = []
    image = 0.25 + 0.5 * torch.rand(1, *shape)
    predict_in_windows(lambda w: seen.append(w) or w[:, 0], image, 16, 4)
    assert all(w.shape[1:] == (1, 16, 16) for w in seen)
    assert min(w.min() for w in seen) >= image.min()  # no zeros were filled in


def test_at_most_a_batch_at_once_and_a_row_of_them_in_memory() -> None:
    sizes = []
    predict_in_windows(lambda w: sizes.append(len(w)) or w[:, 0], torch.zeros(1, 300, 1000), 64, 16, batch=5)
    assert max(sizes) == 5
    assert sum(sizes) == len(tile_starts(300, 64, 48)) * len(tile_starts(1000, 64, 48))


def test_an_overlap_as_large_as_the_window_is_refused() -> None:
    with pytest.raises(InputError, match="give 0 to 31"):
        predict_in_windows(identity, torch.zeros(1, 64, 64), 32, 32)


def test_sums_are_taken_where_there_is_double_precision() -> None:
    assert double_precision_device(torch.device("mps")) == torch.device("cpu")
    assert double_precision_device(torch.device("cuda", 1)) == torch.device("cuda", 1)
