"""Random numbers keyed by what they are for, never by global state."""

from __future__ import annotations

import numpy as np

__all__ = ["generator"]


def generator(seed: int, *key: int) -> np.random.Generator:
    """Return a generator that depends on ``(seed, *key)`` alone, such as ``(seed, epoch, index)``.

    Generators of different keys are independent (numpy's ``SeedSequence``), so that neither the number of workers nor
    the order of the samples changes what a sample sees.
    """
    # The length stands in front, since the words of a SeedSequence are padded with zeros: without it (seed, epoch)
    # would give the numbers of (seed, epoch, 0).
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(len(key), *key))))
