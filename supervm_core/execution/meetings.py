"""Which transactions of a batch meet another one on a key: what controllers learn from.

For each key a table holds the last transaction that named it. Transactions are counted on from batch to batch, so that
what an earlier batch left behind is lower than any number of this one and nothing has to be cleared. A transaction that
finds another's number at one of its keys meets it, and so does that other, which is marked as well.
"""
# ruff: noqa: N806  (constants keep their names inside the closure)

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from supervm_core.columns import U8, U32, U64
from supervm_core.execution.compiling import compiled, number, prefetch, reads, writes

MOST = 2**32 - 1
"""What the table can hold; it is cleared before a count could pass it."""

LOOK_AHEAD = 16
"""Transactions ahead whose keys are asked for."""


class Meetings:
    """Tells who meets whom, batch by batch.

    Parameters
    ----------
    places : int
        Keys are below this number; others are not looked at, since no ledger has them.
    """

    def __init__(self, places: int) -> None:
        self._last = np.zeros(places, np.uint32)
        self._counted = 0

    def of(self, keys: U64) -> NDArray[np.bool_]:
        """Return which transactions share a key with another one.

        Parameters
        ----------
        keys : ndarray of uint64, shape (n, k)
            Keys by transaction; one that a transaction names twice counts once.
        """
        if self._counted + len(keys) > MOST:
            self._last[:] = 0
            self._counted = 0
        met = np.zeros(len(keys), np.uint8)
        _meet(self._last, np.ascontiguousarray(keys), self._counted, met)
        self._counted += len(keys)
        return met.view(np.bool_)


def _build() -> Any:
    uint64, uint32 = np.uint64, np.uint32
    ONE, AHEAD = uint64(1), uint64(LOOK_AHEAD)

    def kernel(last: U32, keys: U64, counted: int, met: U8) -> None:
        places = uint64(last.size)
        total = uint64(keys.shape[0])
        width = uint64(keys.shape[1])
        for t in range(total):
            later = min(t + AHEAD, total - ONE)
            for each in range(width):
                prefetch(last, keys[later, each])
            own = counted + t + ONE
            for each in range(width):
                key = keys[t, each]
                if key >= places:
                    continue
                other = uint64(last[key])
                if other > counted and other != own:
                    met[t] = 1
                    met[other - counted - ONE] = 1
                last[key] = uint32(own)

    return compiled([writes("uint32"), reads("uint64", 2), number, writes("uint8")])(kernel)


_meet = _build()
"""Set ``met[t]`` to 1 for each row t of `keys` that names a key which another row names too."""
