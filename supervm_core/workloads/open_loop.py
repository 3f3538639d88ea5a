"""An open loop: transactions are due when they are due, whether or not the executor has finished those before.

A closed loop sends the next transaction when the last one is done. While the executor stalls, it sends nothing, and the
many transactions that would have waited are missing from its figures: one long time instead of thousands. (G. Tene,
"How NOT to measure latency", calls this coordinated omission.) Here the times at which transactions are due are fixed
before the run, every one of them is executed, and its response is counted from that time on, the wait behind a stall
included.

Times are nanoseconds after the start. All that are due go into the next batch, up to its size. The loop sleeps until
the next is due, and the system may wake it late: that lateness is in the figures, and also on its own in `oversleep`,
so that one can see how much of a wait is the loop's. Histograms are filled after the run, not between batches.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from supervm_core.errors import BatchError
from supervm_core.telemetry.histogram import Latencies, LatencyHistogram
from supervm_core.workloads import Stream

NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Run:
    """What an open loop measured."""

    latencies: Latencies
    """Wait, service and response of every transaction."""
    oversleep: LatencyHistogram
    """How late the loop woke up when it had slept, a time per sleep: the instrument's own error."""
    seconds: float
    """From the start to the end of the last batch."""
    batches: int

    @property
    def throughput(self) -> float:
        """Transactions a second; 0 without any."""
        return self.latencies.response.total / self.seconds if self.seconds > 0 else 0.0


def evenly(rate: float, count: int) -> NDArray[np.int64]:
    """Return the times of `count` transactions, `rate` of them a second at equal distances, the first at 0."""
    _positive(rate, count)
    return (np.arange(count) * (NANOSECONDS / rate)).astype(np.int64)


def by_chance(rate: float, count: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Return the times of `count` transactions from many independent senders, on average `rate` a second.

    The distances between them are exponential (a Poisson process): they come in bursts, as from real senders.
    """
    _positive(rate, count)
    # From the middle of each of 2**32 equal parts of 0 to 1, so that the logarithm is finite.
    shares = (Stream(seed).below(2**32, count).astype(np.float64) + 0.5) / 2**32
    return np.cumsum(-np.log(shares) * (NANOSECONDS / rate)).astype(np.int64)


def run(
    serve: Callable[[int, int], object],
    due: ArrayLike,
    *,
    batch_size: int = 1,
    clock: Callable[[], int] = time.perf_counter_ns,
    sleep: Callable[[float], object] = time.sleep,
) -> Run:
    """Execute transactions when they are due, and count how long each took from then on.

    Parameters
    ----------
    serve : callable
        Executes the transactions from its first argument up to, not including, its second.
    due : array_like of int, shape (n,)
        When each is due, in nanoseconds after the start; none before the one in front of it.
    batch_size : int
        Most transactions of one call.
    clock : callable
        Nanoseconds that never go back.
    sleep : callable
        Waits for seconds.

    Raises
    ------
    BatchError
        If a time is negative or before the one in front of it, or the batch size is not at least 1; nothing was served.
    """
    times = np.asarray(due)
    if times.ndim != 1 or (times.size and times.dtype.kind not in "iu"):
        raise BatchError(f"times of shape {times.shape} and type {times.dtype}; a row of whole nanoseconds is wanted")
    if batch_size < 1:
        raise BatchError(f"batches of {batch_size} transactions serve nobody; at least 1 is wanted")
    if (np.diff(times.astype(np.int64), prepend=0) < 0).any():
        raise BatchError("times must not be negative nor before the one in front; sort them")
    stamps = np.empty((2, times.size), np.int64)
    overslept: list[int] = []
    batches = place = 0
    start = ended = clock()
    intended = start + times.astype(np.int64)
    while place < times.size:
        began = clock()
        early = int(intended[place]) - began
        if early > 0:
            sleep(early / NANOSECONDS)
            overslept.append(max(clock() - int(intended[place]), 0))
            continue
        last = min(int(np.searchsorted(intended, began, side="right")), place + batch_size)
        serve(place, last)
        ended = clock()
        stamps[0, place:last], stamps[1, place:last] = began, ended
        place, batches = last, batches + 1
    latencies, oversleep = Latencies(), LatencyHistogram()
    latencies.record(intended, *stamps)
    oversleep.record_all(np.array(overslept, np.int64))
    return Run(latencies, oversleep, (ended - start) / NANOSECONDS, batches)


def _positive(rate: float, count: int) -> None:
    if not 0 < rate < float("inf") or count < 0:
        raise BatchError(f"{count} transactions at {rate} a second; a positive rate and 0 or more are wanted")
