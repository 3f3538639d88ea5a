"""Partitions: equal ranges of account numbers, by which work and counts are divided.

Partition p of P begins with account ``p * accounts // P``. With fewer accounts than partitions some are empty. A number
above every account belongs to the last partition: what transactions name need not exist.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from supervm_core.columns import U64


def first_accounts(accounts: int, partitions: int) -> U64:
    """Return where each partition begins, shape (partitions,)."""
    return np.arange(partitions, dtype=np.uint64) * np.uint64(accounts) // np.uint64(partitions)


def partition_of(accounts: NDArray[np.unsignedinteger[Any]], first: U64) -> NDArray[np.int64]:
    """Return the partition of each account.

    Parameters
    ----------
    accounts : ndarray of unsigned int
        Account numbers, existing or not.
    first : ndarray of uint64
        As `first_accounts` returns it.
    """
    return np.searchsorted(first, accounts, side="right") - 1
