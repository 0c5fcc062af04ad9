"""Folds of patches: balanced, and views of one place stay together."""

import numpy as np
import pytest
from patch_sets import constant_set, make_set

from data.errors import InputError
from data.patch_folds import parse_fold, same_views, split_folds
from data.patches import PatchConfig


def test_folds_are_balanced_and_keep_views_of_one_place_together() -> None:
    files = [f"class_{k % 2}/p{k // 6}_r{60 * (k % 6)}.png" for k in range(240)]
    patches = constant_set([k % 256 for k in range(240)], [k % 2 for k in range(240)], files)
    fold = split_folds(patches, 5, group_views=False)
    assert np.array_equal(fold, split_folds(patches, 5, group_views=False))
    for k in range(1, 6):
        assert np.bincount(patches.labels[fold == k]).tolist() == [24, 24]
    for place in {name.split("_r")[0] for name in files}:
        members = [fold[k] for k, name in enumerate(files) if name.startswith(place + "_")]
        assert len(set(members)) == 1


def test_patches_of_one_radiograph_share_a_fold() -> None:
    files = [f"C0001_{k % 4:04d}.png" for k in range(40)]
    fold = split_folds(constant_set(list(range(0, 200, 5)), [k % 2 for k in range(40)], files), 2)
    assert {len(set(fold[k::4])) for k in range(4)} == {1}
    with pytest.raises(InputError, match="2 radiographs or places cannot be split into 5 folds"):
        split_folds(constant_set([1, 200], [0, 1]), 5)


def test_views_of_one_place_are_found_in_the_pixels_and_share_a_fold() -> None:
    rng = np.random.default_rng(0)
    places = rng.integers(0, 250, (12, 8, 8)).astype(np.uint8)
    views = [np.rot90(p[:, ::-1] if m else p, k) + (rng.random((8, 8)) < 0.3)
             for p in places for m in (0, 1) for k in range(4)]  # fmt: skip
    patches = make_set(np.stack(views).astype(np.uint8), [k // 8 % 2 for k in range(96)])
    first, second = same_views(patches.floats(slice(None)))
    assert set(zip(first.tolist(), second.tolist(), strict=True)) == {
        (a, b) for a in range(96) for b in range(a + 1, 96) if a // 8 == b // 8
    }
    fold = split_folds(patches, 3)
    assert {len(set(fold[k : k + 8])) for k in range(0, 96, 8)} == {1}
    assert np.bincount(fold)[1:].tolist() == [32, 32, 32]
    apart = split_folds(patches, 3, group_views=False)
    assert max(len(set(apart[k : k + 8])) for k in range(0, 96, 8)) == 3


@pytest.mark.parametrize("text", ["0/5", "6/5", "1/1", "one", "1/5/2", "-1/5"])
def test_a_fold_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not k/n"):
        parse_fold(text)
    with pytest.raises(ValueError, match="is not k/n"):
        PatchConfig(validation_fold=text)
