"""The router: which path a batch takes, decided by what its transactions can touch and which features are on.

A transfer, mint or burn touches its sender and its receiver; a batch of nothing else can go by the owner of the account
(`partitioned`, feature `partitioned-fastpath`). Calls may touch anything, by their footprint or access list, and cost
far more each; a batch with enough of them is worth ordering by dependency (`ordered`, feature
`consensus-optimizations`). Everything else is executed sequentially, and so is every batch that is over sooner than a
thread wakes up. Each path equals the specification for every batch that it is given, so a wrong choice costs time and
nothing else.

Both paths may use several threads. Where others want the same cores, several can be slower than one; `Fallback` finds
out, by path, from what batches cost lately.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from supervm_core.errors import StalledError
from supervm_core.execution import sequential
from supervm_core.execution.bookkeeping import Book, Notes
from supervm_core.features import CONSENSUS_OPTIMIZATIONS, NUMA_AFFINITY, PARTITIONED_FASTPATH
from supervm_core.machine import placement, topology
from supervm_core.machine.fallback import Fallback
from supervm_core.state import State
from supervm_core.transactions import Batch, Kind, Receipts

if TYPE_CHECKING:
    from supervm_core.execution.ordered import OrderedPath
    from supervm_core.execution.partitioned import PartitionedPath

SMALL = 4_096
"""Batches below this many transactions are executed sequentially: sorting them, or waking a thread, takes as long."""

CALLS_THAT_PAY = 8
"""One call in so many transactions is enough for the ordered path; with fewer, transfers would pay for nothing."""

GAS_OF_A_PAYMENT = 4
"""What a transfer, or a call before its first instruction, costs in instructions, when batches are compared."""

Way = Callable[[State, Batch, Notes], Receipts]


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
    book : Book
        Where it is kept what happened.

    Attributes
    ----------
    homes : Homes or None
        Where the shards of the partitioned path live; None without `numa-affinity`.
    """

    def __init__(self, features: frozenset[str], partitions: int, threads: int | None, book: Book) -> None:
        self.book = book
        self.partitioned: PartitionedPath | None = None
        self.ordered: OrderedPath | None = None
        self.homes: placement.Homes | None = None
        self._side_by_side: _Choice | None = None
        self._by_dependency: _Choice | None = None
        # Each path brings kernels of its own, which nobody should load who does not use them.
        if PARTITIONED_FASTPATH in features:
            from supervm_core.execution.partitioned import PartitionedPath

            self.partitioned = PartitionedPath(partitions, threads)
            if NUMA_AFFINITY in features:
                shards = min(partitions, self.partitioned.threads)
                self.homes = self.partitioned.homes = placement.Homes(placement.plan(topology.read(), shards))
            self._side_by_side = _Choice(self.partitioned.execute, sequential.execute, self.partitioned.threads)
        if CONSENSUS_OPTIMIZATIONS in features:
            from supervm_core.execution.ordered import OrderedPath

            self.ordered = OrderedPath(threads)
            self._by_dependency = _Choice(self.ordered.execute, OrderedPath(1).execute, self.ordered.threads)

    def execute(self, state: State, batch: Batch, in_order: bool = False) -> Receipts:
        """Apply a batch to a state, as `supervm_core.reference.execute` does.

        Parameters
        ----------
        state : State
            Changed in place.
        batch : Batch
            Any.
        in_order : bool
            Whether to execute it sequentially, whatever it holds.

        Raises
        ------
        StalledError
            If a thread has stopped getting on; the state is then half changed. From the next batch on, one thread does
            everything.
        """
        notes = self.book.open()
        way = sequential.execute if in_order else self._way(batch)
        receipts = way(state, batch, notes)
        self.book.enter(notes, batch, state.accounts)
        return receipts

    def _way(self, batch: Batch) -> Way:
        if len(batch) < SMALL or (self._side_by_side is None and self._by_dependency is None):
            return sequential.execute
        calls = int(np.count_nonzero(batch.kind == Kind.CALL))
        if calls == 0 and self._side_by_side is not None:
            return self._side_by_side.execute
        if CALLS_THAT_PAY * calls >= len(batch) and self._by_dependency is not None:
            return self._by_dependency.execute
        return sequential.execute


class _Choice:
    """A way for several threads and one for a single thread, and which of them batches take."""

    def __init__(self, several: Way, single: Way, threads: int) -> None:
        self._several = several
        self._single = single
        self._fallback = Fallback() if threads > 1 else None

    def execute(self, state: State, batch: Batch, notes: Notes) -> Receipts:
        if self._fallback is None:
            return self._several(state, batch, notes)
        parallel = self._fallback.parallel
        began = time.perf_counter()
        try:
            receipts = (self._several if parallel else self._single)(state, batch, notes)
        except StalledError:
            self._several, self._fallback = self._single, None
            raise
        work = GAS_OF_A_PAYMENT * len(batch) + int(receipts.gas_used.sum())
        self._fallback.observe(parallel, work, time.perf_counter() - began)
        return receipts
