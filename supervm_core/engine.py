"""The facade: a ledger that executes batches.

    vm = SuperVM.with_accounts(100_000, balance=1_000_000)
    receipts = vm.execute(transfers(10_000, accounts=100_000))
    receipts.failed, vm.root().hex()

Which executor does the work changes how long it takes and nothing else. Executors load when they are first used:
importing this module, or building a `SuperVM`, loads neither numba nor compiled code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from supervm_core import features as flags
from supervm_core.errors import SettingError, UnknownNameError
from supervm_core.partitions import first_accounts, partition_of
from supervm_core.state import State
from supervm_core.telemetry.counters import Counters
from supervm_core.telemetry.histogram import Latencies
from supervm_core.transactions import Batch, Receipts

if TYPE_CHECKING:
    from supervm_core.machine.placement import Homes

Executor = Literal["routed", "sequential", "reference"]
Execute = Callable[[State, Batch, bool], Receipts]

PARTITIONS = 8
"""Partitions of the accounts unless something else is asked for."""

MOST_PARTITIONS = 1_024
MOST_THREADS = 256

SLOW = 0.1
"""Seconds above which a transaction counts as slow: the limit of the 99th percentile that the project gates by."""


class SuperVM:
    """A ledger and the executor that applies batches to it.

    Parameters
    ----------
    state : State
        Where the ledger begins. It is copied: the caller's stays as it is.
    executor : {"routed", "sequential", "reference"}
        Whichever path suits the batch, of those whose features are on; the compiled sequential kernel for every batch;
        or the specification itself.
    features : iterable of str
        Features of `supervm_core.features` to switch on, or off with a minus sign before the name. The environment
        decides about the others. They concern the routed executor only.
    partitions : int
        Into how many ranges the partitioned path divides the accounts, 1 to 1,024.
    threads : int, optional
        Threads at most; the cores that the process may use when left out.

    Raises
    ------
    UnknownNameError
        If there is no such executor or feature.
    SettingError
        If a number is outside its range, an environment variable has no meaning, or features are given to an executor
        that has none.

    Attributes
    ----------
    state : State
        The ledger now. Changes with every batch; `copy` it to keep it.
    features : frozenset of str
        The features that are on.
    counters : Counters
        What the routed executor did so far, by partition and worker; partition 0 stands for all unless
        `partitioned-fastpath` is on. The other executors, which are there to compare with, count nothing.
    latencies : Latencies or None
        How long transactions waited inside `execute`, and took there; None without `latency-quantiles`.
    """

    def __init__(
        self,
        state: State,
        *,
        executor: Executor = "routed",
        features: Iterable[str] = (),
        partitions: int = PARTITIONS,
        threads: int | None = None,
    ) -> None:
        if executor not in _EXECUTORS:
            raise UnknownNameError(f"there is no executor {executor!r}; known are {', '.join(_EXECUTORS)}")
        chosen = tuple(features)
        if chosen and executor != "routed":
            raise SettingError(
                f"the {executor} executor has no features; leave executor out to use {', '.join(chosen)}"
            )
        self.executor = executor
        self.features = flags.active(chosen) if executor == "routed" else frozenset()
        self.counters = Counters(partitions=1, workers=1)
        self.latencies = Latencies() if flags.LATENCY_QUANTILES in self.features else None
        self.configure(partitions=partitions, threads=threads)
        self.state = state.copy()
        self._beginning = state.copy()

    @classmethod
    def with_accounts(
        cls,
        accounts: int,
        *,
        balance: int = 0,
        slots: int = 0,
        executor: Executor = "routed",
        features: Iterable[str] = (),
        partitions: int = PARTITIONS,
        threads: int | None = None,
    ) -> SuperVM:
        """A ledger of `accounts` accounts that all hold `balance`, and `slots` zero words of storage."""
        state = State.with_accounts(accounts, balance=balance, slots=slots)
        return cls(state, executor=executor, features=features, partitions=partitions, threads=threads)

    def configure(self, *, partitions: int, threads: int | None) -> None:
        """Use other partitions and threads from the next batch on.

        Raises
        ------
        SettingError
            If a number is outside its range; everything stays as it was.
        """
        _require_number("partitions", partitions, MOST_PARTITIONS)
        if threads is not None:
            _require_number("threads", threads, MOST_THREADS)
        self.partitions, self.threads = partitions, threads
        self._counted = partitions if flags.PARTITIONED_FASTPATH in self.features else 1
        self.counters.grow(self._counted, 1)
        self._execute: Execute | None = None
        self._homes: Homes | None = None

    def execute(self, batch: Batch, *, in_order: bool = False) -> Receipts:
        """Apply a batch to the ledger.

        Parameters
        ----------
        batch : Batch
            Any; a transaction that fails says so in its receipt.
        in_order : bool
            Whether one thread should execute it in its order, whatever the features say: for transactions that are
            known to get in each other's way.

        Returns
        -------
        Receipts
            One per transaction, in columns that are never used again.

        Raises
        ------
        MissingDependencyError
            If the executor needs a package that is not installed; the state is as it was.
        StalledError
            If a thread has stopped getting on; the state is half changed. `reset`, or go back to a copy.
        """
        if self._execute is None:
            self._execute = _EXECUTORS[self.executor](self)
        return self._execute(self.state, batch, in_order)

    @property
    def placement(self) -> str | None:
        """In words, where `numa-affinity` keeps the shards, or why nowhere; None before the first batch or without."""
        return self._homes.reason if self._homes is not None else None

    def partition_of(self, accounts: NDArray[np.unsignedinteger[Any]]) -> NDArray[np.int64]:
        """In which partition each account's transactions are counted; one that does not exist belongs to the last."""
        return partition_of(accounts, first_accounts(self.state.accounts, self._counted))

    def root(self) -> bytes:
        """The 32-byte digest of the ledger now."""
        return self.state.root()

    def reset(self) -> None:
        """Go back to the beginning, in place: three memory copies."""
        self.state.assign(self._beginning)

    def __repr__(self) -> str:
        return f"<SuperVM, {self.executor} executor, {self.state!r}>"


def _routed(vm: SuperVM) -> Execute:
    from supervm_core.execution.bookkeeping import Book
    from supervm_core.execution.router import Router

    router = Router(vm.features, vm.partitions, vm.threads, Book(vm.counters, vm._counted, vm.latencies, SLOW))
    vm.counters.grow(vm._counted, router.threads)
    vm._homes = router.homes
    return router.execute


def _sequential(_: SuperVM) -> Execute:
    from supervm_core.execution import sequential

    return lambda state, batch, _: sequential.execute(state, batch)


def _reference(_: SuperVM) -> Execute:
    from supervm_core import reference

    return lambda state, batch, _: reference.execute(state, batch)


_EXECUTORS: dict[str, Callable[[SuperVM], Execute]] = {
    "routed": _routed,
    "sequential": _sequential,
    "reference": _reference,
}


def _require_number(name: str, number: object, most: int) -> None:
    if not isinstance(number, int) or not 1 <= number <= most:
        raise SettingError(f"{name} cannot be {number!r}; choose a whole number from 1 to {most}")
