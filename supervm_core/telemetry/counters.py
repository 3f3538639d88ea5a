"""Counters of the fast path: numbers that workers add to without locks, and a snapshot for readers.

Each partition has a row of numbers, one for each `Count`, and each worker a row for each `Work`. A number has one
writer at a time: the worker that executes the partition, or, for what happens before a batch (`ADMISSION`), the thread
that admits transactions. One writer needs no lock, and rows are padded to whole cache lines, admission on lines of its
own, so that two writers never take a line from each other.

A reader copies the arrays. A number is never torn (aligned words are read whole), but two numbers may be a moment
apart: a snapshot is no consistent cut while a batch runs.

Names are those that dashboards of the fast path ask for. Times are kept in nanoseconds; a name that ends in `_ms` is
given in milliseconds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, NamedTuple

import numpy as np
import psutil
from numpy.typing import NDArray

from supervm_core.columns import U64
from supervm_core.errors import TelemetryError

LINE = 8
"""Numbers of 8 bytes on a cache line of 64."""


class Count(IntEnum):
    """What is counted per partition: the places in its row. The first line is the worker's."""

    BATCHES = 0
    TRANSACTIONS = 1
    FAST = 2
    ORDERED = 3
    CONFLICTS = 4
    BATCH_SIZE = 5
    SLOW = 6
    # The second line belongs to the thread that admits transactions.
    QUEUE_LENGTH = 8
    QUEUE_WAIT = 9
    RETRIES = 10
    DROPPED = 11


class Work(IntEnum):
    """What is counted per worker: the places in its row."""

    CPU = 0


ADMISSION = frozenset({Count.QUEUE_LENGTH, Count.QUEUE_WAIT, Count.RETRIES, Count.DROPPED})
"""What the thread that admits transactions writes."""


class Metric(NamedTuple):
    """How a number is shown to people."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    scale: float = 1.0
    """What one counted unit is in the unit of the name."""


METRICS: dict[Count, Metric] = {
    Count.BATCHES: Metric("fastpath_batches_total", "counter", "Batches executed."),
    Count.TRANSACTIONS: Metric("fastpath_txns_total", "counter", "Transactions executed, whatever their receipts say."),
    Count.FAST: Metric("fastpath_fast_total", "counter", "Transactions executed without an order between partitions."),
    Count.ORDERED: Metric("fastpath_ordered_total", "counter", "Transactions executed in the order of the batch."),
    Count.CONFLICTS: Metric("fastpath_conflicts_total", "counter", "Transactions that met another on a key."),
    Count.BATCH_SIZE: Metric("fastpath_batch_size", "gauge", "Transactions of the latest batch."),
    Count.SLOW: Metric("fastpath_slow_requests_total", "counter", "Transactions slower than the p99 threshold."),
    Count.QUEUE_LENGTH: Metric("fastpath_queue_length", "gauge", "Transactions waiting for a batch."),
    Count.QUEUE_WAIT: Metric(
        "fastpath_queue_wait_time_ms", "counter", "Milliseconds that transactions waited, all together.", 1e-6
    ),
    Count.RETRIES: Metric("fastpath_retries_total", "counter", "Transactions that were put off and offered again."),
    Count.DROPPED: Metric("fastpath_dropped_total", "counter", "Transactions refused for good; they have no receipt."),
}

WORKER_CPU = Metric(
    "fastpath_worker_cpu_usage", "gauge", "CPU time of a worker over wall time, since the snapshot before."
)
MEMORY = Metric("fastpath_memory_usage_bytes", "gauge", "Resident memory of the process.")


class Sample(NamedTuple):
    """One number of one metric."""

    metric: Metric
    label: tuple[str, str] | None
    """`("partition", "3")` or `("worker", "0")`; None where a number is the process's."""
    value: float


@dataclass(frozen=True)
class Snapshot:
    """What was counted up to a moment."""

    partitions: U64
    """Counts by partition and `Count`."""
    workers: U64
    """Counts by worker and `Work`."""
    moment: int
    """Nanoseconds of a monotonic clock."""
    memory: int
    """Resident bytes of the process."""

    def total(self, count: Count) -> int:
        """Return a count over all partitions."""
        return int(self.partitions[:, count].sum())

    @property
    def fast_share(self) -> float:
        """Share of transactions that took the fast path; 0 where there were none."""
        executed = self.total(Count.FAST) + self.total(Count.ORDERED)
        return self.total(Count.FAST) / executed if executed else 0.0

    def cpu_usage(self, earlier: Snapshot) -> NDArray[np.float64]:
        """Return each worker's CPU time over wall time since an earlier snapshot; 0 for all where no time passed."""
        passed = self.moment - earlier.moment
        spent = (self.workers[:, Work.CPU] - earlier.workers[:, Work.CPU]).astype(np.float64)
        return spent / passed if passed > 0 else np.zeros_like(spent)

    def samples(self, earlier: Snapshot | None = None) -> Iterator[Sample]:
        """Yield every number, by metric and then by partition or worker; CPU use only since an `earlier` snapshot."""
        for count, metric in METRICS.items():
            for partition, value in enumerate(self.partitions[:, count].tolist()):
                yield Sample(metric, ("partition", str(partition)), value * metric.scale)
        if earlier is not None:
            for worker, usage in enumerate(self.cpu_usage(earlier).tolist()):
                yield Sample(WORKER_CPU, ("worker", str(worker)), usage)
        yield Sample(MEMORY, None, self.memory)


class Counters:
    """The numbers of one executor.

    Parameters
    ----------
    partitions, workers : int
        Rows of each kind; `grow` adds some.

    Attributes
    ----------
    partitions : ndarray of uint64, shape (partitions, 16)
        A row per partition; kernels add to ``partitions[p, Count.FAST]``.
    workers : ndarray of uint64, shape (workers, 8)
        A row per worker.
    """

    __slots__ = ("partitions", "workers")

    def __init__(self, partitions: int, workers: int) -> None:
        if partitions < 1 or workers < 1:
            raise TelemetryError(f"counters need at least 1 partition and 1 worker, not {partitions} and {workers}")
        self.partitions = _aligned(partitions, Count)
        self.workers = _aligned(workers, Work)

    def grow(self, partitions: int, workers: int) -> None:
        """Have at least so many rows, and keep what was counted; nobody may be writing meanwhile."""
        former = self.partitions, self.workers
        self.partitions = _aligned(max(partitions, len(former[0])), Count)
        self.workers = _aligned(max(workers, len(former[1])), Work)
        for rows, kept in zip((self.partitions, self.workers), former, strict=True):
            rows[: len(kept)] = kept

    def queued(self, *, length: U64, waited_ns: U64, retries: U64, dropped: U64) -> None:
        """Count what admission did, by partition: how many wait now, and what became of others."""
        rows = self.partitions
        rows[:, Count.QUEUE_LENGTH] = length
        rows[:, Count.QUEUE_WAIT] += waited_ns
        rows[:, Count.RETRIES] += retries
        rows[:, Count.DROPPED] += dropped

    def worked(self, worker: int, *, cpu_ns: int) -> None:
        """Count CPU time that a worker spent, by its own `time.thread_time_ns`."""
        self.workers[worker, Work.CPU] += np.uint64(cpu_ns)

    def snapshot(self) -> Snapshot:
        """Copy all numbers."""
        memory = int(psutil.Process().memory_info().rss)
        return Snapshot(self.partitions.copy(), self.workers.copy(), time.monotonic_ns(), memory)


def _aligned(rows: int, places: type[IntEnum]) -> U64:
    """Return zeros in rows of whole cache lines that begin at the start of one."""
    width = -(-(max(places) + 1) // LINE) * LINE
    spare = np.zeros(rows * width + LINE, np.uint64)
    begin = -(spare.ctypes.data // spare.itemsize) % LINE
    return spare[begin : begin + rows * width].reshape(rows, width)
