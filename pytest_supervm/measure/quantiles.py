"""Latency quantiles: from single samples, or from a histogram that the subject kept itself.

Quantile q of N samples is read by linear interpolation between order statistics (definition 7 of R. J. Hyndman and
Y. Fan, "Sample quantiles in statistical packages", Amer. Statist. 50 (1996), 361-365), from a histogram by linear
interpolation inside the bucket. With fewer than 10/(1-q) samples, fewer than ten lie beyond it, and it is not a number.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from pytest_supervm.model import STANDARD_METRICS, Series

QUANTILES = {"latency_p50": 0.5, "latency_p90": 0.9, "latency_p95": 0.95, "latency_p99": 0.99, "latency_p999": 0.999}

BEYOND = 10
"""Samples that must be expected beyond a quantile."""


class Histogram(NamedTuple):
    """Counts per bucket: bucket i holds the samples from ``edges[i]`` to ``edges[i + 1]``, in seconds."""

    edges: Sequence[float]
    counts: Sequence[int]


@runtime_checkable
class HistogramLike(Protocol):
    """Anything with edges and counts, such as a subject's own histogram."""

    @property
    def edges(self) -> Sequence[float]: ...
    @property
    def counts(self) -> Sequence[int]: ...


def samples_needed(q: float) -> int:
    """Return the fewest samples that make quantile `q` a number: 1000 for 0.99."""
    return math.ceil(round(BEYOND / (1 - q), 6))


def of_samples(samples: Iterable[float], more: str) -> list[Series]:
    """Return a series per quantile.

    Parameters
    ----------
    samples
        Latencies in seconds.
    more
        How to get more samples: the end of the sentence of a quantile that has too few.

    Raises
    ------
    ValueError
        A sample is negative or not finite.
    """
    ordered = sorted(map(float, samples))
    if any(not math.isfinite(sample) for sample in ordered) or (ordered and ordered[0] < 0):
        raise ValueError("latencies are seconds, finite and not negative")

    def read(q: float) -> float:
        position = q * (len(ordered) - 1)
        below = math.floor(position)
        above = min(below + 1, len(ordered) - 1)
        return ordered[below] + (position - below) * (ordered[above] - ordered[below])

    return [_series(name, q, len(ordered), more, read) for name, q in QUANTILES.items()]


def of_histogram(histogram: HistogramLike, more: str) -> list[Series]:
    """Return a series per quantile of a histogram.

    Parameters
    ----------
    histogram
        Edges (seconds, ascending, one more than there are counts) and counts.
    more
        As in `of_samples`.

    Raises
    ------
    ValueError
        The edges do not ascend, do not fit the counts, or a count is negative or no whole number.
    """
    edges = [float(edge) for edge in histogram.edges]
    counts = [_whole(count) for count in histogram.counts]
    if len(edges) != len(counts) + 1:
        raise ValueError(f"a histogram of {len(counts)} counts has {len(counts) + 1} edges, not {len(edges)}")
    ascending = all(low < high for low, high in itertools.pairwise(edges))  # which NaN never does
    if not ascending or not edges[0] >= 0 or min(counts, default=0) < 0:
        raise ValueError("the edges of a histogram ascend from 0 or more, and its counts are not negative")
    cumulated = list(itertools.accumulate(counts))
    total = cumulated[-1] if cumulated else 0

    def read(q: float) -> float:
        bucket = bisect.bisect_left(cumulated, q * total)
        below = cumulated[bucket - 1] if bucket else 0
        share = (q * total - below) / counts[bucket]
        return edges[bucket] + share * (edges[bucket + 1] - edges[bucket])

    return [_series(name, q, total, more, read) for name, q in QUANTILES.items()]


def unmeasured(reason: str) -> list[Series]:
    """Return all quantiles as unmeasured, for one reason."""
    return [Series(metric=STANDARD_METRICS[name], unmeasured=reason) for name in QUANTILES]


def _whole(count: float) -> int:
    if not math.isfinite(count) or int(count) != count:
        raise ValueError(f"a count of a histogram is a whole number, not {count!r}")
    return int(count)


def _series(name: str, q: float, count: int, more: str, read: Callable[[float], float]) -> Series:
    metric = STANDARD_METRICS[name]
    needed = samples_needed(q)
    if count < needed:
        reason = f"{name.removeprefix('latency_')} needs {needed} samples and there are {count}; {more}"
        return Series(metric=metric, samples=count, unmeasured=reason)
    value = read(q)
    if not math.isfinite(value):
        reason = f"{name.removeprefix('latency_')} lies in the histogram's unbounded last bucket; add a bucket above it"
        return Series(metric=metric, samples=count, unmeasured=reason)
    return Series(metric=metric, launches=((value,),), samples=count)
