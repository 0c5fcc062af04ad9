"""Streams of random numbers that never meet, all of them from a run's one seed."""

from typing import Literal

import numpy as np

Stream = Literal["sample", "region", "simulated radiograph", "scene"]

# What follows the seed. Samples have their epoch there, which is a small number; the others start with one that no
# epoch reaches, and differ in how many numbers follow. Changing any of these changes the results of every seed.
_KEYS: dict[Stream, tuple[int, ...]] = {
    "sample": (),
    "region": (2**32 - 1,),
    "simulated radiograph": (2**32 - 1,),
    "scene": (2**32 - 2,),
}


def stream(seed: int, name: Stream, *ids: int) -> np.random.Generator:
    """Return the generator of one purpose, the same for the same `seed`, `name` and `ids` (all at least 0).

    `ids` say which one of its kind is drawn: (epoch, index) of a sample, the number of a region, or (epoch, image,
    attempt) of a radiograph with simulated defects, or (epoch, number) of a scene that several samples show.
    """
    return np.random.default_rng([seed, *_KEYS[name], *ids])
