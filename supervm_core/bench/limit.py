"""The physical bound of whatever changes random accounts: read-modify-writes that know nothing of transactions.

Each asks for its place in memory long before it needs it, none depends on another, and one thread does them all.
"""

from __future__ import annotations

import numpy as np

from supervm_core.columns import U32, U64
from supervm_core.execution.compiling import compiled, prefetch, reads, writes

LOOK_AHEAD = np.uint64(16)
"""How many writes ahead a place is asked for. More gain nothing: the processor has no more requests under way."""


@compiled([writes("uint64"), reads("uint32")])
def read_modify_write(balances: U64, places: U32) -> None:
    """Add one to each of the places, in order; places must lie inside."""
    total = np.uint64(places.size)
    for each in range(total):
        prefetch(balances, np.uint64(places[min(each + LOOK_AHEAD, total - np.uint64(1))]))
        balances[places[each]] += np.uint64(1)
