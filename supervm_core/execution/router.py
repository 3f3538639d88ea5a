"""The router: which path a batch takes, decided by what its transactions can touch and which features are on.

A transfer, mint or burn touches its sender and its receiver; a batch of nothing else can go by the owner of the account
(`partitioned`, feature `partitioned-fastpath`). Calls may touch anything, by their footprint or access list, and cost
far more each; a batch with enough of them is worth ordering by dependency (`ordered`, feature
`consensus-optimizations`). Everything else is executed sequentially, and so is every batch that is over sooner than a
thread wakes up. Each path equals the specification for every batch that it is given, so a wrong choice costs time and
nothing else.

Whether a path pays is not only a matter of what the batch holds: others may want the cores, calls may be short, or most
of them may wait for each other. So each path has alternatives (one thread, the sequential kernel), and `Fallback` finds
out from what batches cost lately. The price of another way is found with the first transactions of a batch, so that a
bad guess costs little; executing a beginning and then the rest is what the batch's order says anyway.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from supervm_core.errors import StalledError
from supervm_core.execution import sequential
from supervm_core.execution.bookkeeping import Book, Notes, now
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

TRIAL = 16_384
"""Transactions with which the price of another way is found: several times `SMALL`, a few milliseconds at most."""

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
        self._payments: _Choice | None = None
        self._calls: _Choice | None = None
        # Each path brings kernels of its own, which nobody should load who does not use them.
        if PARTITIONED_FASTPATH in features:
            from supervm_core.execution.partitioned import PartitionedPath

            self.partitioned = PartitionedPath(partitions, threads)
            if NUMA_AFFINITY in features:
                shards = min(partitions, self.partitioned.threads)
                self.homes = self.partitioned.homes = placement.Homes(placement.plan(topology.read(), shards))
            several = self.partitioned.threads > 1
            self._payments = _Choice([self.partitioned.execute, *([sequential.execute] if several else [])])
        if CONSENSUS_OPTIMIZATIONS in features:
            from supervm_core.execution.ordered import OrderedPath

            self.ordered = OrderedPath(threads)
            alone = [OrderedPath(1).execute] if self.ordered.threads > 1 else []
            self._calls = _Choice([self.ordered.execute, *alone, sequential.execute])

    @property
    def threads(self) -> int:
        """Threads that are at work at once, at most."""
        return max([1, *(path.threads for path in (self.partitioned, self.ordered) if path is not None)])

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
        arrived = now()
        choice = None if in_order else self._choice(batch)
        if choice is None:
            return self._execute(sequential.execute, state, batch, arrived)
        if len(choice.ways) == 1:
            return self._execute(choice.ways[0], state, batch, arrived)
        trial = choice.trial()
        if trial is None:
            return self._timed(choice, choice.settled, state, batch, arrived)
        if len(batch) < 2 * TRIAL:
            return self._timed(choice, trial, state, batch, arrived)
        beginning = self._timed(choice, trial, state, batch[:TRIAL], arrived)
        rest = self._timed(choice, choice.settled, state, batch[TRIAL:], arrived)
        return Receipts(
            status=np.concatenate([beginning.status, rest.status]),
            gas_used=np.concatenate([beginning.gas_used, rest.gas_used]),
        )

    def _choice(self, batch: Batch) -> _Choice | None:
        """The path that suits the batch, with its alternatives; None for the sequential kernel and nothing else."""
        if len(batch) < SMALL or (self._payments is None and self._calls is None):
            return None
        calls = int(np.count_nonzero(batch.kind == Kind.CALL))
        if calls == 0:
            return self._payments
        return self._calls if CALLS_THAT_PAY * calls >= len(batch) else None

    def _timed(self, choice: _Choice, way: int, state: State, batch: Batch, arrived: int) -> Receipts:
        began = time.perf_counter()
        try:
            receipts = self._execute(choice.ways[way], state, batch, arrived)
        except StalledError:
            choice.give_up_all_but_the_last()
            raise
        seconds = time.perf_counter() - began
        gas = int(receipts.gas_used.sum()) if choice is self._calls else 0
        choice.observe(way, GAS_OF_A_PAYMENT * len(batch) + gas, seconds)
        return receipts

    def _execute(self, way: Way, state: State, batch: Batch, arrived: int) -> Receipts:
        notes = self.book.open(arrived)
        receipts = way(state, batch, notes)
        self.book.enter(notes, batch, state.accounts)
        return receipts


class _Choice(Fallback):
    """Ways for the same batches, and which of them these take. The last one uses one thread."""

    def __init__(self, ways: Sequence[Way]) -> None:
        super().__init__(len(ways))
        self.ways = list(ways)

    def give_up_all_but_the_last(self) -> None:
        """Take no way again that might use several threads."""
        self.ways = self.ways[-1:]
        super().__init__(1)
