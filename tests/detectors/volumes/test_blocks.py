"""Whole volumes in blocks: no seams, air skipped, resumable."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import InputError
from detectors.volumes.blocks import predict_in_blocks


def run(values: np.ndarray, predict, size: int, overlap: int, **options) -> np.ndarray:
    """Return the whole map; every slice must come once and in order."""
    found = np.full(values.shape, np.nan, np.float32)
    next_slice = options.get("first", 0)
    for slab in predict_in_blocks(predict, lambda a, b: values[a:b], values.shape, size, overlap, **options):
        assert slab.first == next_slice
        next_slice += len(slab.values)
        found[slab.first : next_slice] = slab.values
    assert next_slice == len(values)
    return found


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(5, 40), st.integers(5, 30), st.integers(5, 30)),
    size=st.sampled_from([8, 12]), overlap=st.integers(0, 7), batch=st.integers(1, 3),
)  # fmt: skip
def test_a_constant_map_stays_constant(shape: tuple[int, int, int], size: int, overlap: int, batch: int) -> None:
    values = np.ones(shape, np.float32)
    found = run(values, lambda blocks: torch.full_like(blocks[:, 0], 0.3), size, overlap, batch=batch)
    np.testing.assert_allclose(found, 0.3, atol=1e-6)


def test_a_map_of_single_voxels_comes_back_as_it_is() -> None:
    values = np.random.default_rng(0).random((37, 21, 30), np.float32) + 1
    found = run(values, lambda blocks: blocks[:, 0] * 2, 16, 5)
    np.testing.assert_allclose(found, values * 2, rtol=1e-6)


def test_a_small_network_sees_no_block_edges_where_the_overlap_covers_its_reach() -> None:
    # A mean over 3 voxels is wrong at a block's outer voxel alone, where the weight of an overlap of 16 is small.
    values = np.random.default_rng(1).random((40, 24, 24), np.float32) + 1
    smooth = torch.nn.AvgPool3d(3, stride=1, padding=1, count_include_pad=False)
    found = run(values, lambda blocks: smooth(blocks)[:, 0], 16, 12)
    whole = smooth(torch.from_numpy(values)[None, None])[0, 0].numpy()
    inner = (slice(2, -2),) * 3
    assert np.abs(found - whole)[inner].max() < 0.02


def test_blocks_of_air_are_not_mapped() -> None:
    values = np.random.default_rng(2).normal(0, 0.1, (16, 48, 48)).astype(np.float32)
    values[4:12, 4:12, 4:12] = 1
    seen = []

    def predict(blocks: torch.Tensor) -> torch.Tensor:
        seen.append(len(blocks))
        return torch.ones_like(blocks[:, 0])

    slabs = list(predict_in_blocks(predict, lambda a, b: values[a:b], values.shape, 16, 0))
    assert sum(seen) == 1
    assert (slabs[0].blocks, slabs[0].skipped) == (1, 8)
    assert slabs[0].values[:, :16, :16].min() == 1
    assert slabs[0].values[:, 16:, 16:].max() == 0


@pytest.mark.parametrize("first", [1, 10, 16, 23, 39])
def test_starting_late_gives_the_same_slices(first: int) -> None:
    values = np.random.default_rng(3).random((40, 16, 16), np.float32) + 1
    smooth = torch.nn.AvgPool3d(5, stride=1, padding=2)
    whole = run(values, lambda blocks: smooth(blocks)[:, 0], 16, 10)
    late = run(values, lambda blocks: smooth(blocks)[:, 0], 16, 10, first=first)
    assert np.isnan(late[:first]).all()
    np.testing.assert_array_equal(late[first:], whole[first:])


def test_an_overlap_of_a_whole_block_is_refused() -> None:
    with pytest.raises(InputError, match="0 to 7"):
        list(predict_in_blocks(lambda b: b[:, 0], lambda a, b: np.ones((b - a, 9, 9)), (9, 9, 9), 8, 8))
