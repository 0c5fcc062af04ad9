"""Components and parts found slab by slab are those of the whole volume."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from data.errors import InputError
from data.volumes.components import SLAB, STRUCTURES, PartMask, SlabComponents, label
from data.volumes.otsu import FIXED, OtsuPores, OtsuRule


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    share=st.floats(0.05, 0.5),
    cut=st.integers(1, 9),
    connectivity=st.sampled_from([6, 26]),
)
def test_slabs_give_the_components_of_the_whole(seed: int, share: float, cut: int, connectivity: int) -> None:
    mask = np.random.default_rng(seed).random((10, 6, 7)) < share
    components = SlabComponents(connectivity)
    numbers = np.concatenate([components.add(mask[:cut]), components.add(mask[cut:])])
    count, roots = components.roots()
    whole, expected = ndimage.label(mask, structure=STRUCTURES[connectivity])
    assert count == expected
    joined = roots[numbers]
    # The same partition: every pair (ours, theirs) is one to one.
    assert len(np.unique(np.stack([joined[mask], whole[mask]]), axis=1).T) == expected
    assert not joined[~mask].any()


def test_diagonal_neighbors_join_at_26_only() -> None:
    mask = np.zeros((2, 2, 2), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = True
    assert [label(mask, 6)[1], label(mask, 26)[1]] == [2, 1]


def block(bore: bool = False, pore: bool = True, depth: int = 2 * SLAB + 5) -> np.ndarray:
    """Return a volume of metal 20 x 20 in air, with a pore of 4^3 across two slabs, perhaps with a through bore."""
    values = np.zeros((depth, 30, 30), np.float32)
    values[3:-3, 5:25, 5:25] = 1
    if pore:
        values[SLAB - 2 : SLAB + 2, 10:14, 10:14] = 0
    if bore:
        values[:, 18:21, 18:21] = 0
    return values


def part_of(values: np.ndarray, **options) -> np.ndarray:
    part = PartMask(lambda a, b: values[a:b], values.shape, **options)
    whole = part.rows(0, len(values))
    assert part.voxels == whole.sum()
    np.testing.assert_array_equal(part.rows(SLAB - 3, SLAB + 4), whole[SLAB - 3 : SLAB + 4])
    return whole


def test_the_part_holds_its_closed_pores() -> None:
    whole = part_of(block())
    expected = np.zeros_like(whole)
    expected[3:-3, 5:25, 5:25] = True
    np.testing.assert_array_equal(whole, expected)


def test_closed_air_is_what_metal_encloses() -> None:
    values = np.zeros((40, 20, 20), np.float32)
    values[2:38, 3:17, 3:17] = 1
    values[30:34, 8:12, 8:12] = 0.1  # a pore in the second slab
    values[2:20, 5:7, 5:7] = 0.0  # a blind hole from above
    part = PartMask(lambda a, b: values[a:b], values.shape)
    found = np.concatenate([part.closed_air(first, first + 7) for first in range(0, 40, 7)])
    expected = np.zeros(values.shape, bool)
    expected[30:34, 8:12, 8:12] = True
    np.testing.assert_array_equal(found, expected)


def test_a_bore_is_outside() -> None:
    whole = part_of(block(bore=True))
    assert not whole[:, 18:21, 18:21].any()
    assert whole[SLAB, 12, 12]


def test_a_bore_of_a_cropped_volume_is_the_papers_first_trap() -> None:
    cropped = block(bore=True, pore=False)[3:-3, 5:25, 5:25]  # no air around it but the bore
    cropped[:, 0, :] = 0  # a corner of air
    corner, border = part_of(cropped, background="corner"), part_of(cropped, background="border")
    assert corner[SLAB, 14, 14]
    assert not border[SLAB, 14, 14]


def test_specks_in_air_are_no_part() -> None:
    values = block()
    values[1, 1, 1] = values[40, 28, 28] = 1
    assert not part_of(values)[[1, 40], [1, 28], [1, 28]].any()


def test_a_volume_inside_of_a_part_has_no_background() -> None:
    values = block()[4:-4, 6:24, 6:24]
    with pytest.raises(InputError, match="no air at its border"):
        part_of(values)
    assert part_of(values, background="none").all()


def test_air_alone_is_no_part() -> None:
    with pytest.raises(InputError, match="no material"):
        part_of(np.zeros((5, 6, 7), np.float32))


def noisy(values: np.ndarray, sigma: float = 0.05, blur: float = 1.0) -> np.ndarray:
    smooth = ndimage.gaussian_filter(values, blur)
    return (smooth + np.random.default_rng(0).normal(0, sigma, values.shape)).astype(np.float32)


def pores_of(values: np.ndarray, rule: OtsuRule) -> tuple[np.ndarray, OtsuPores]:
    found = OtsuPores(lambda a, b: values[a:b], values.shape, rule)
    return np.concatenate(list(found.slabs())), found


def test_algorithm_1_finds_a_large_pore() -> None:
    values = noisy(block(pore=False))
    values[20:32, 9:20, 9:20] = 0.05
    mask, found = pores_of(values, OtsuRule())
    assert 0.4 < found.first < 0.6
    truth = np.zeros_like(mask)
    truth[20:32, 9:20, 9:20] = True
    assert (mask & truth).sum() / truth.sum() > 0.99


def test_the_second_threshold_cuts_the_shell_and_the_fixed_rule_does_not() -> None:
    values = noisy(block(pore=False), sigma=0.02)
    values[30:36, 12:18, 12:18] = 0.05
    truth = np.zeros(values.shape, bool)
    truth[30:36, 12:18, 12:18] = True
    paper, _ = pores_of(values, OtsuRule())
    fixed, _ = pores_of(values, FIXED)
    assert (paper & ~truth).sum() > 1000  # the blurred shell
    assert (fixed & ~truth).sum() == 0
    assert fixed[truth].all()


def test_flat_components_are_dropped() -> None:
    values = block(pore=False)
    values[20, 10:13, 10:13] = 0  # one slice thick
    values[SLAB - 1 : SLAB + 1, 15:17, 15:17] = 0  # 2 x 2 x 2 across two slabs
    mask, _ = pores_of(values, OtsuRule(threshold="first"))
    assert mask.sum() == 8
    assert pores_of(values, OtsuRule(threshold="first", least_extent=1))[0].sum() == 17
