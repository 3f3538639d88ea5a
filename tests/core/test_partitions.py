"""Partitions divide the accounts: each account has one, and their sizes differ by one at most."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from supervm_core.partitions import first_accounts, partition_of


@given(st.integers(0, 2**32), st.integers(1, 1_024))
def test_partitions_are_equal_ranges_in_order(accounts: int, partitions: int) -> None:
    first = first_accounts(accounts, partitions).tolist()
    assert first == [partition * accounts // partitions for partition in range(partitions)]
    sizes = np.diff(first, append=accounts)
    assert sizes.min() >= 0
    assert sizes.max() - sizes.min() <= 1


@given(st.integers(0, 3_000), st.integers(1, 40), st.lists(st.integers(0, 2**32 - 1) | st.integers(0, 3_000)))
def test_each_account_lies_in_the_last_partition_that_begins_before_it(
    accounts: int, partitions: int, named: list[int]
) -> None:
    """Those that do not exist lie in the last one."""
    first = first_accounts(accounts, partitions)
    found = partition_of(np.array(named, np.uint32), first).tolist()
    assert found == [max(p for p in range(partitions) if first[p] <= account) for account in named]
