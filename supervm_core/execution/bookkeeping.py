"""Keeping the books: when each micro-batch was executed, which way, and for whose partition.

Paths note what happens while they execute a batch (`Notes`); when it is over, a kernel enters the notes into counters
and latency histograms (`Book`). One stamp stands for a micro-batch, never for a single transaction: a stamp
costs about as much as a transfer. The sequential kernels stamp every `MICRO_BATCH` transactions, the ordered path every
task of a level, the partitioned path the batch, since its last credits arrive at the end.

Times are nanoseconds of the monotonic clock that `time.perf_counter_ns` reads too. What is kept of a transaction: how
long it waited, from the call of `execute` until its micro-batch began; how long that micro-batch took; and both
together.
"""
# ruff: noqa: N806  (constants keep their names inside the closure)

from __future__ import annotations

import time
from typing import Any

import numpy as np

from supervm_core.columns import U32, U64
from supervm_core.execution.compiling import compiled, flag, number, reads, writes
from supervm_core.machine.crew import Effort
from supervm_core.partitions import first_accounts, partition_of
from supervm_core.telemetry import histogram
from supervm_core.telemetry.counters import Count, Counters, Work
from supervm_core.telemetry.histogram import CELLS, Latencies
from supervm_core.transactions import Batch

MICRO_BATCH = 512
"""Transactions between two stamps of the sequential kernels: 17 ns for the stamp are then 0.03 ns for each."""

BLOCK_BITS = 8
"""Accounts are looked up by blocks of 2**8 of them, which hold at most one boundary when partitions are larger."""

now = time.perf_counter_ns

NOWHERE = np.zeros((0, 3), np.uint64)
"""Where stamps go that nobody wants."""


class Notes:
    """What is noted while one batch is executed. Several threads may note at once.

    Parameters
    ----------
    arrived : int
        When the batch arrived.
    stamped : bool
        Whether stamps are wanted.

    Attributes
    ----------
    in_order : bool
        Whether all of it was executed in the order of the batch; a path that did otherwise says so.
    rest : list of ndarray of uint32
        Where not: the places of those that were.
    waited : list of ndarray of uint32
        Places of transactions that may touch what an earlier one may touch, and so had to wait for it.
    """

    __slots__ = ("_began_cpu", "_helpers_cpu", "_rows", "_single", "arrived", "in_order", "rest", "stamped", "waited")

    def __init__(self, arrived: int, *, stamped: bool) -> None:
        self.arrived = arrived
        self.stamped = stamped
        self.in_order = True
        self.rest: list[U32] = []
        self.waited: list[U32] = []
        self._began_cpu = time.thread_time_ns()
        self._helpers_cpu: list[int] = []
        self._rows: list[U64] = []
        self._single: list[tuple[int, int, int]] = []

    @classmethod
    def unwanted(cls) -> Notes:
        """Notes that nobody will read."""
        return cls(now(), stamped=False)

    def room(self, transactions: int) -> U64:
        """Rows for a kernel that stamps: when each micro-batch began and ended, and how many transactions it had."""
        if not self.stamped:
            return NOWHERE
        rows = np.empty((-(-transactions // MICRO_BATCH), 3), np.uint64)
        self._rows.append(rows)
        return rows

    def stamp(self, began: int, transactions: int) -> None:
        """Note a micro-batch that ends now."""
        if self.stamped:
            self._single.append((began, now(), transactions))

    def helped(self, effort: Effort) -> None:
        """Add the CPU time of the caller's helpers. The caller's own is known without."""
        spent = effort.cpu_ns[1:]
        self._helpers_cpu += [0] * (len(spent) - len(self._helpers_cpu))
        for helper, ns in enumerate(spent):
            self._helpers_cpu[helper] += ns

    def cpu_ns(self) -> list[int]:
        """CPU time up to now by worker, the caller first."""
        return [time.thread_time_ns() - self._began_cpu, *self._helpers_cpu]

    def rows(self) -> U64:
        """All stamps, shape (micro-batches, 3)."""
        if not self._single:
            if len(self._rows) == 1:
                return self._rows[0]
            if not self._rows:
                return NOWHERE
        return np.concatenate([*self._rows, np.array(self._single, np.uint64).reshape(-1, 3)])


class Book:
    """Counters and latencies of one executor, and how they are kept.

    Parameters
    ----------
    counters : Counters
        Has a row for each partition, an equal range of the accounts.
    partitions : int
        How many there are; rows behind them stay as they are.
    latencies : Latencies or None
        None where nobody wants any; then nothing is stamped.
    slow : float
        Seconds from being called to being done, above which a transaction counts as slow.
    """

    def __init__(self, counters: Counters, partitions: int, latencies: Latencies | None, slow: float) -> None:
        self.counters = counters
        self.partitions = partitions
        self.latencies = latencies
        self._slow = int(slow * 1e9)
        self._map = _Map(0, partitions)

    def open(self, arrived: int) -> Notes:
        """Begin a batch that arrived at that moment."""
        return Notes(arrived, stamped=self.latencies is not None)

    def enter(self, notes: Notes, batch: Batch, accounts: int) -> None:
        """Keep what was noted of a batch that has been executed on a ledger of so many accounts."""
        if self._map.accounts != accounts:
            self._map = _Map(accounts, self.partitions)
        caller_cpu, *helpers_cpu = notes.cpu_ns()
        _enter(
            NO_CELLS if self.latencies is None else self.latencies.cells, notes.rows(), notes.arrived, self._slow,
            self.counters.partitions, batch.sender, _joined(notes.rest), _joined(notes.waited), notes.in_order,
            self._map.first, self._map.table, self.counters.workers, caller_cpu,
        )  # fmt: skip
        for helper, spent in enumerate(helpers_cpu, start=1):
            self.counters.worked(helper, cpu_ns=spent)


class _Map:
    """Which partition an account belongs to: by block, and whether it lies beyond the boundary within the block."""

    def __init__(self, accounts: int, partitions: int) -> None:
        self.accounts = accounts
        starts = first_accounts(accounts, partitions)
        self.first = np.append(starts, np.uint64(2**63))
        blocks = np.arange((accounts >> BLOCK_BITS) + 1, dtype=np.uint64) << np.uint64(BLOCK_BITS)
        self.table = partition_of(blocks, starts).astype(np.uint32)


NO_CELLS = np.zeros((0, CELLS), np.uint64)
NONE = np.zeros(0, np.uint32)


def _joined(places: list[U32]) -> U32:
    return NONE if not places else places[0] if len(places) == 1 else np.concatenate(places)


def _build() -> Any:
    uint64 = np.uint64
    LINEAR, PARTS, LONGEST = uint64(histogram.LINEAR), uint64(histogram.PARTS), uint64(histogram.LONGEST)
    BEYOND, SUM, MAXIMUM = histogram.BEYOND, histogram.SUM, histogram.MAXIMUM
    BATCHES, TRANSACTIONS, FAST = int(Count.BATCHES), int(Count.TRANSACTIONS), int(Count.FAST)
    ORDERED, CONFLICTS, BATCH_SIZE = int(Count.ORDERED), int(Count.CONFLICTS), int(Count.BATCH_SIZE)
    SLOW, CPU = int(Count.SLOW), int(Work.CPU)
    ALL, REST, WAITED = 0, 1, 2
    ZERO, ONE, BITS = uint64(0), uint64(1), uint64(BLOCK_BITS)

    def kernel(
        cells: U64,
        rows: U64,
        arrived: int,
        slow: int,
        counts: U64,
        sender: U32,
        rest: U32,
        waited: U32,
        in_order: bool,
        first: U64,
        table: U32,
        workers: U64,
        cpu_ns: int,
    ) -> None:
        times = np.empty(3, np.uint64)
        for row in range(rows.shape[0]):
            size = rows[row, 2]
            times[0] = rows[row, 0] - arrived
            times[1] = rows[row, 1] - rows[row, 0]
            times[2] = rows[row, 1] - arrived
            for kind in range(3):
                ns = times[kind]
                if ns < LONGEST:
                    doublings = ZERO
                    while ns >> doublings >= LINEAR:
                        doublings += ONE
                    cells[kind, PARTS * doublings + (ns >> doublings)] += size
                else:
                    cells[kind, BEYOND] += size
                cells[kind, SUM] += ns * size
                cells[kind, MAXIMUM] = max(cells[kind, MAXIMUM], ns)
            if times[2] > slow:
                counts[0, SLOW] += size

        partitions = first.size - 1
        new = np.zeros((partitions, 3), np.uint64)
        if partitions == 1:
            new[0, ALL] = sender.size
            new[0, REST] = rest.size
            new[0, WAITED] = waited.size
        else:
            last = uint64(table.size) - ONE
            for which in range(3):
                named = sender.size if which == ALL else rest.size if which == REST else waited.size
                for each in range(named):
                    place = uint64(each)
                    if which == REST:
                        place = uint64(rest[each])
                    elif which == WAITED:
                        place = uint64(waited[each])
                    account = uint64(sender[place])
                    home = uint64(table[min(account >> BITS, last)])
                    while account >= first[home + ONE]:
                        home += ONE
                    new[home, which] += ONE
        counts[:, BATCH_SIZE] = ZERO
        for partition in range(partitions):
            transactions = new[partition, ALL]
            ordered = transactions if in_order else new[partition, REST]
            if transactions != ZERO:
                counts[partition, BATCHES] += ONE
            counts[partition, TRANSACTIONS] += transactions
            counts[partition, ORDERED] += ordered
            counts[partition, FAST] += transactions - ordered
            counts[partition, CONFLICTS] += new[partition, WAITED]
            counts[partition, BATCH_SIZE] = transactions
        workers[0, CPU] += cpu_ns

    latencies = [writes("uint64", 2), reads("uint64", 2), number, number]
    batch = [writes("uint64", 2), reads("uint32"), reads("uint32"), reads("uint32"), flag]
    partitions = [reads("uint64"), reads("uint32")]
    return compiled([*latencies, *batch, *partitions, writes("uint64", 2), number])(kernel)


_enter = _build()
"""Count each row's transactions in the histograms (waiting since `arrived`, being executed, both together), the batch
by its senders' partitions, of which the last has the unknown ones, and the CPU time of worker 0."""
