"""Latency in log buckets: an array of counts that a worker adds to, and quantiles for whoever reads it.

Times are whole nanoseconds. Up to `LINEAR` each has a bucket of its own; above, every doubling is cut into `PARTS`
buckets of equal width, as in HDR histograms. A bucket is therefore never wider than 1/64 of its lower edge: whatever
time inside it a quantile names, it is off by less than 1.6 %, and by 1 % at the 100 ns where the range begins. Times of
`LONGEST` (100 s) or more share one bucket without an upper edge, in which no quantile is a number.

With e the number of doublings above the first two (0 for short times), the bucket of a time is

    e = max(0, floor(log2(ns)) - 6)        index = 64 * e + (ns >> e)

which `bucket` spells with shifts and comparisons only, so that a compiled kernel can hold the same three lines.

A histogram has one writer. Each worker has its own, and a reader merges them: no locks, no lost counts. Behind the
counts stand two more numbers, the sum of all times and the longest one, so that the whole is still one flat array.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from supervm_core.columns import U64, read_only
from supervm_core.errors import TelemetryError

PARTS = 64
"""Buckets per doubling: 1/64 keeps the relative error below the 3 % that latencies are promised to, with half to spare
for those who interpolate differently."""

LINEAR = 2 * PARTS
"""Nanoseconds below which a bucket is one nanosecond wide."""

LONGEST = 100 * 10**9
"""Nanoseconds from which times are only counted as too long."""


def bucket(ns: int) -> int:
    """Return the bucket of a time below `LONGEST`; numba compiles this as it stands, for signed integers."""
    doublings = 0
    while ns >> doublings >= LINEAR:
        doublings += 1
    return PARTS * doublings + (ns >> doublings)


BEYOND = bucket(LONGEST - 1) + 1
"""The bucket of times that are too long, the last one; the one before it ends where it begins."""

SUM = BEYOND + 1
"""Place of the sum of all times, in nanoseconds."""

MAXIMUM = BEYOND + 2
"""Place of the longest time, in nanoseconds."""

CELLS = BEYOND + 3
"""Length of the array."""

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}

SAMPLES_BEYOND = 10
"""Times that must be expected beyond a quantile to make it a number: 1000 in all for p99."""


def buckets(ns: ArrayLike) -> NDArray[np.int64]:
    """Return the bucket of each time, too long ones included."""
    times = np.minimum(np.asarray(ns, np.uint64), np.uint64(LONGEST))
    # frexp writes n as m * 2**e with m in [0.5, 1); a float holds every time up to the longest exactly.
    doublings = np.maximum(np.frexp(times.astype(np.float64))[1] - LINEAR.bit_length() + 1, 0).astype(np.int64)
    found = PARTS * doublings + (times >> doublings.astype(np.uint64)).astype(np.int64)
    return np.where(times < LONGEST, found, BEYOND)


def _lower_edges() -> NDArray[np.float64]:
    places = np.arange(BEYOND + 1)
    doublings = np.maximum(places // PARTS - 1, 0)
    edges = ((places - PARTS * doublings) << doublings).astype(np.float64)
    edges[BEYOND] = LONGEST
    return np.append(edges, np.inf) / 1e9


_EDGES: NDArray[np.float64] = read_only(_lower_edges())


class LatencyHistogram:
    """Counts of times by bucket.

    Parameters
    ----------
    cells : ndarray of uint64, shape (CELLS,), optional
        The array to count in, such as a row of a larger one; a new one when left out.

    Raises
    ------
    TelemetryError
        If the array has another type or length.

    Attributes
    ----------
    cells : ndarray of uint64
        Counts by bucket, then the places `SUM` and `MAXIMUM`; what a kernel writes to.
    """

    __slots__ = ("cells",)

    def __init__(self, cells: U64 | None = None) -> None:
        self.cells = np.zeros(CELLS, np.uint64) if cells is None else cells
        if self.cells.dtype != np.uint64 or self.cells.shape != (CELLS,):
            raise TelemetryError(
                f"a latency histogram counts in {CELLS} numbers of type uint64, not in {self.cells.dtype} of shape "
                f"{self.cells.shape}; make the array with np.zeros(CELLS, np.uint64)"
            )

    @property
    def edges(self) -> NDArray[np.float64]:
        """Edges of the buckets in seconds, one more than there are counts; the last is infinite."""
        return _EDGES

    @property
    def counts(self) -> U64:
        """Times in each bucket: a view, not a copy."""
        return self.cells[: BEYOND + 1]

    @property
    def total(self) -> int:
        """How many times were recorded."""
        return int(self.counts.sum())

    @property
    def seconds(self) -> float:
        """Sum of all times in seconds."""
        return int(self.cells[SUM]) / 1e9

    @property
    def longest(self) -> float:
        """The longest time in seconds, exactly; 0 when there is none."""
        return int(self.cells[MAXIMUM]) / 1e9

    def record(self, ns: int, times: int = 1) -> None:
        """Count a time in nanoseconds, as often as it holds (for each transaction of a micro-batch, say).

        Raises
        ------
        TelemetryError
            If the time or the number of times is negative: a clock went backwards.
        """
        if ns < 0 or times < 0:
            raise _no_latency(ns, times)
        self.cells[bucket(ns) if ns < LONGEST else BEYOND] += np.uint64(times)
        self.cells[SUM] += np.uint64(ns * times)
        if times:
            self.cells[MAXIMUM] = max(self.cells[MAXIMUM], np.uint64(ns))

    def record_all(self, ns: ArrayLike) -> None:
        """Count many times in whole nanoseconds, once each.

        Raises
        ------
        TelemetryError
            If one is negative or no whole number; none is counted.
        """
        given = np.asarray(ns)
        if given.size == 0:
            return
        if given.dtype.kind not in "iu" or given.min() < 0:
            raise _no_latency(given.min(), 1)
        np.add.at(self.cells, buckets(given), np.uint64(1))
        self.cells[SUM] += given.sum(dtype=np.uint64)
        self.cells[MAXIMUM] = max(self.cells[MAXIMUM], np.uint64(given.max()))

    def merge(self, others: Iterable[LatencyHistogram]) -> LatencyHistogram:
        """Return a histogram of all that this one and the others recorded; neither changes."""
        rows = [self.cells, *(other.cells for other in others)]
        cells: U64 = np.add.reduce(rows, axis=0, dtype=np.uint64)
        cells[MAXIMUM] = max(row[MAXIMUM] for row in rows)
        return LatencyHistogram(cells)

    def since(self, earlier: LatencyHistogram) -> LatencyHistogram:
        """Return a histogram of what was recorded after `earlier` was copied from this one.

        The longest time of the interval is not known; the longest of all stands in its place.
        """
        cells = self.cells - earlier.cells
        cells[MAXIMUM] = self.cells[MAXIMUM]
        return LatencyHistogram(cells)

    def copy(self) -> LatencyHistogram:
        """Return an equal histogram that stays as it is."""
        return LatencyHistogram(self.cells.copy())

    def quantile(self, q: float) -> float | None:
        """Return a quantile in seconds, interpolated inside its bucket.

        Parameters
        ----------
        q : float
            From above 0 to below 1.

        Returns
        -------
        float or None
            None where it is not a number: fewer than 10 times are expected beyond it, or it is above the range.
        """
        if not 0 < q < 1:
            raise TelemetryError(f"there is no quantile {q}; ask for one between 0 and 1, such as 0.99")
        cumulated = np.cumsum(self.counts)
        total = int(cumulated[-1])
        # Rounded, because 10 / (1 - 0.99) is a little more than 1000.
        if total < round(SAMPLES_BEYOND / (1 - q), 6):
            return None
        place = int(np.searchsorted(cumulated, q * total))
        if place == BEYOND:
            return None
        count = int(self.counts[place])
        share = (q * total - (int(cumulated[place]) - count)) / count
        low, high = float(_EDGES[place]), float(_EDGES[place + 1])
        return min(low + share * (high - low), self.longest)

    def quantiles(self) -> dict[str, float | None]:
        """Return p50, p90, p95, p99 and p999 in seconds, as `quantile` does."""
        return {name: self.quantile(q) for name, q in QUANTILES.items()}

    def __repr__(self) -> str:
        return f"<LatencyHistogram of {self.total} times, the longest {self.longest:g} s>"


def _no_latency(ns: object, times: int) -> TelemetryError:
    return TelemetryError(
        f"a latency of {ns} ns, recorded {times} times; whole nanoseconds from 0 up are wanted, recorded 0 times or "
        "more. Take both stamps from one monotonic clock in nanoseconds"
    )


class Latencies:
    """Where time went: before a transaction's turn came, and during it.

    A quantile of the whole cannot be had from the quantiles of its parts, so all three are kept.

    Attributes
    ----------
    wait : LatencyHistogram
        From the moment a transaction was meant to start until its batch began.
    service : LatencyHistogram
        From there until its receipt.
    response : LatencyHistogram
        Both together: what the sender saw.
    cells : ndarray of uint64, shape (3, CELLS)
        The arrays of all three, in this order; what a kernel writes to.
    """

    __slots__ = ("cells", "response", "service", "wait")

    def __init__(self) -> None:
        self.cells = np.zeros((3, CELLS), np.uint64)
        self.wait, self.service, self.response = map(LatencyHistogram, self.cells)

    def record(self, intended: ArrayLike, began: ArrayLike, ended: ArrayLike) -> None:
        """Count transactions.

        Parameters
        ----------
        intended : array_like of int, shape (n,)
            When each was meant to start, in nanoseconds of the clock that the other stamps come from.
        began, ended : array_like of int, shape (n,) or ()
            When its batch began and ended; single numbers for transactions of one batch.

        Raises
        ------
        TelemetryError
            If the stamps do not follow each other; nothing is counted.
        """
        starts, begins, ends = np.broadcast_arrays(*(np.asarray(stamp, np.int64) for stamp in (intended, began, ended)))
        astray = (starts > begins) | (begins > ends)
        if astray.any():
            place = int(np.argmax(astray))
            raise TelemetryError(
                f"a transaction meant to start at {starts.flat[place]} cannot have begun at {begins.flat[place]} and "
                f"ended at {ends.flat[place]}; take all stamps from one monotonic clock in nanoseconds"
            )
        self.wait.record_all(begins - starts)
        self.service.record_all(ends - begins)
        self.response.record_all(ends - starts)
