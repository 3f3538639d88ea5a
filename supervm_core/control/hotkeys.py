"""Which keys occur most, in a fixed number of counters: the space-saving sketch.

Of N occurrences counted with m counters, every key that occurred more than N/m times is found, and no estimate is off
by more than N/m. A sketch keeps m - 1 keys with a count each that is never too high, and one number, `error`, that says
by how much it may be too low. A batch adds its exact counts; if that makes too many keys, the m-th largest count is
taken from all, and from N at least m times as much has then been given up, which is where the bound comes from.

A. Metwally, D. Agrawal and A. El Abbadi, "Efficient computation of frequent and top-k elements in data streams",
ICDT 2005; the form with a common error, equal to it and fit for whole batches: P. K. Agarwal et al., "Mergeable
summaries", PODS 2012.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from supervm_core.columns import U64
from supervm_core.errors import SettingError


class Top(NamedTuple):
    """The most frequent keys, most frequent first."""

    keys: U64
    least: NDArray[np.float64]
    """How often each occurred at least."""
    most: NDArray[np.float64]
    """How often each occurred at most."""


class SpaceSaving:
    """A sketch of how often keys occur.

    Parameters
    ----------
    capacity : int
        Counters, at least 2: the m of the bound.

    Attributes
    ----------
    total : float
        Occurrences counted, after `decay`.
    error : float
        By how much any estimate may be off; at most ``total / capacity``.
    """

    __slots__ = ("_counts", "_keys", "capacity", "error", "total")

    def __init__(self, capacity: int) -> None:
        if capacity < 2:
            raise SettingError(f"a sketch of frequent keys needs at least 2 counters, not {capacity}")
        self.capacity = capacity
        self.total = 0.0
        self.error = 0.0
        self._keys: U64 = np.zeros(0, np.uint64)
        self._counts: NDArray[np.float64] = np.zeros(0)

    def add(self, keys: ArrayLike) -> None:
        """Count every key once for each time that it is in the array."""
        found, occurrences = np.unique(np.asarray(keys, np.uint64).ravel(), return_counts=True)
        self.total += float(occurrences.sum())
        merged, places = np.unique(np.concatenate([self._keys, found]), return_inverse=True)
        counts: NDArray[np.float64] = np.zeros(merged.size)
        np.add.at(counts, places, np.concatenate([self._counts, occurrences]))
        if merged.size >= self.capacity:
            given_up = float(np.partition(counts, merged.size - self.capacity)[merged.size - self.capacity])
            self.error += given_up
            counts = counts - given_up
        kept = counts > 0
        self._keys, self._counts = merged[kept], counts[kept]

    def decay(self, factor: float) -> None:
        """Count everything so far `factor` times, from 0 to 1, so that what came later weighs more."""
        self.total *= factor
        self.error *= factor
        self._counts = self._counts * factor

    def estimate(self, key: int) -> tuple[float, float]:
        """Return how often a key occurred at least and at most."""
        counted = float(self._counts[self._keys == np.uint64(key)].sum())
        return counted, counted + self.error

    def top(self, number: int) -> Top:
        """Return up to `number` keys; of equally frequent ones the lowest first."""
        order = np.lexsort((self._keys, -self._counts))[:number]
        least = self._counts[order]
        return Top(self._keys[order], least, least + self.error)
