"""The router: which path a batch takes, decided by what its transactions can touch and which features are on.

A transfer, mint or burn touches its sender and its receiver; a batch of nothing else can go by the owner of the account
(`partitioned`, feature `partitioned-fastpath`). Calls may touch anything, by their footprint or access list, and cost
far more each; a batch with enough of them is worth ordering by dependency (`ordered`, feature
`consensus-optimizations`). Everything else is executed sequentially, and so is every batch that is over sooner than a
thread wakes up. Each path equals the specification for every batch that it is given, so a wrong choice costs time and
nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from supervm_core.execution import sequential
from supervm_core.features import CONSENSUS_OPTIMIZATIONS, PARTITIONED_FASTPATH
from supervm_core.state import State
from supervm_core.transactions import Batch, Kind, Receipts

if TYPE_CHECKING:
    from supervm_core.execution.ordered import OrderedPath
    from supervm_core.execution.partitioned import PartitionedPath

SMALL = 4_096
"""Batches below this many transactions are executed sequentially: sorting them, or waking a thread, takes as long."""

CALLS_THAT_PAY = 8
"""One call in so many transactions is enough for the ordered path; with fewer, transfers would pay for nothing."""


class Router:
    """Sends each batch the way that suits it. One thread at a time may call it.

    Parameters
    ----------
    features : frozenset of str
        The features that are on.
    partitions : int
        Partitions of the partitioned path.
    threads : int or None
        Threads at most; None for the cores that this process may use.
    """

    def __init__(self, features: frozenset[str], partitions: int, threads: int | None) -> None:
        self.partitioned: PartitionedPath | None = None
        self.ordered: OrderedPath | None = None
        # Each path brings kernels of its own, which nobody should load who does not use them.
        if PARTITIONED_FASTPATH in features:
            from supervm_core.execution.partitioned import PartitionedPath

            self.partitioned = PartitionedPath(partitions, threads)
        if CONSENSUS_OPTIMIZATIONS in features:
            from supervm_core.execution.ordered import OrderedPath

            self.ordered = OrderedPath(threads)

    def execute(self, state: State, batch: Batch) -> Receipts:
        """Apply a batch to a state, as `supervm_core.reference.execute` does."""
        if len(batch) < SMALL or (self.partitioned is None and self.ordered is None):
            return sequential.execute(state, batch)
        calls = int(np.count_nonzero(batch.kind == Kind.CALL))
        if calls == 0 and self.partitioned is not None:
            return self.partitioned.execute(state, batch)
        if CALLS_THAT_PAY * calls >= len(batch) and self.ordered is not None:
            return self.ordered.execute(state, batch)
        return sequential.execute(state, batch)
