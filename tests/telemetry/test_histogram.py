"""Histograms keep every quantile within the promised error, lose no count, and are what the laboratory reads."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from pytest_supervm.measure import quantiles as laboratory
from supervm_core.errors import TelemetryError
from supervm_core.telemetry.histogram import (
    BEYOND,
    CELLS,
    LONGEST,
    QUANTILES,
    Latencies,
    LatencyHistogram,
    bucket,
    buckets,
)

PROMISED = 0.03
SHORTEST = 100

TIMES = st.integers(SHORTEST, LONGEST - 1) | st.floats(math.log(SHORTEST), math.log(LONGEST - 1)).map(
    lambda power: min(int(math.exp(power)), LONGEST - 1)
)


def filled(times: list[int], repeats: int = 1) -> LatencyHistogram:
    """A histogram of each of these times, once or more often."""
    histogram = LatencyHistogram()
    if repeats == 1:
        histogram.record_all(np.array(times, np.uint64))
    else:
        for ns in times:
            histogram.record(ns, repeats)
    return histogram


def around_the_edges() -> np.ndarray:
    """Every edge of a bucket, the nanosecond before it, and times that are too long."""
    lower = np.rint(LatencyHistogram().edges[:-1] * 1e9).astype(np.uint64)
    return np.concatenate([lower, lower[1:] - np.uint64(1), [np.uint64(2**63), np.uint64(2**64 - 1)]])


@given(st.lists(TIMES, min_size=1, max_size=30), st.sampled_from(sorted(QUANTILES.values())))
def test_a_quantile_is_within_three_percent_of_the_time_at_its_rank(times: list[int], q: float) -> None:
    repeats = 10_000
    rank = math.ceil(round(q * len(times) * repeats, 6))
    exact = sorted(times)[(rank - 1) // repeats] / 1e9
    found = filled(times, repeats).quantile(q)
    assert abs(found - exact) <= PROMISED * exact


@given(st.lists(st.integers(0, 2**64 - 1), max_size=50))
def test_every_time_is_between_the_edges_of_its_bucket(times: list[int]) -> None:
    edges = LatencyHistogram().edges
    for ns, place in zip(times, buckets(np.array(times, np.uint64)).tolist(), strict=True):
        # Edges in seconds are rounded; a nanosecond is far more than that rounding.
        assert np.rint(edges[place] * 1e9) <= ns < np.rint(edges[place + 1] * 1e9)


def test_no_bucket_in_the_range_is_wider_than_the_promised_error() -> None:
    edges = LatencyHistogram().edges[:-1]
    low, high = edges[:-1], edges[1:]
    assert (high > low).all()
    inside = low >= SHORTEST / 1e9
    assert ((high - low)[inside] <= PROMISED * low[inside]).all()
    assert edges[0] == 0
    assert edges[-1] == LONGEST / 1e9


def test_the_formula_for_kernels_agrees_with_numpy_at_every_edge_also_when_compiled() -> None:
    """A kernel that counts into the neighbouring bucket would be off by more than is promised, and nobody would see."""
    times = around_the_edges()
    inside = times[times < LONGEST]
    expected = buckets(inside).tolist()
    assert [bucket(int(ns)) for ns in inside] == expected
    compiled = njit("int64(int64)")(bucket)
    assert [compiled(int(ns)) for ns in inside] == expected
    assert (buckets(times[times >= LONGEST]) == BEYOND).all()


@given(st.lists(st.lists(TIMES, max_size=8), min_size=1, max_size=5))
def test_merging_is_recording_everything_in_one(parts: list[list[int]]) -> None:
    first, *others = [filled(part) for part in parts]
    merged = first.merge(others)
    together = filled([ns for part in parts for ns in part])
    assert np.array_equal(merged.cells, together.cells)
    assert np.array_equal(first.cells, filled(parts[0]).cells), "merging must not change what it merges"


@given(st.lists(st.integers(0, 2**53), max_size=30))
def test_one_by_one_or_all_at_once_is_the_same(times: list[int]) -> None:
    one_by_one = LatencyHistogram()
    for ns in times:
        one_by_one.record(ns)
    assert np.array_equal(one_by_one.cells, filled(times).cells)


@given(st.lists(TIMES, max_size=8), st.lists(TIMES, max_size=8))
def test_the_difference_of_two_copies_is_what_came_between(before: list[int], after: list[int]) -> None:
    histogram = filled(before)
    earlier = histogram.copy()
    histogram.record_all(np.array(after, np.uint64))
    assert np.array_equal(histogram.since(earlier).counts, filled(after).counts)
    assert histogram.since(earlier).seconds == filled(after).seconds


def test_the_laboratory_reads_it_and_finds_the_same_quantiles() -> None:
    histogram = filled(np.random.default_rng(3).lognormal(12, 2, 20_000).astype(np.uint64).tolist())
    assert isinstance(histogram, laboratory.HistogramLike)
    theirs = {series.metric.name: series.value for series in laboratory.of_histogram(histogram, "")}
    assert theirs == pytest.approx({f"latency_{name}": value for name, value in histogram.quantiles().items()})


@pytest.mark.parametrize(("name", "needed"), [("p50", 20), ("p90", 100), ("p95", 200), ("p99", 1000), ("p999", 10_000)])
def test_a_quantile_of_one_time_too_few_is_no_number(name: str, needed: int) -> None:
    histogram = filled([1000], needed - 1)
    assert histogram.quantiles()[name] is None
    histogram.record(1000)
    assert histogram.quantiles()[name] == pytest.approx(1000e-9, rel=PROMISED)


def test_no_quantile_is_beyond_the_longest_time() -> None:
    assert filled([1_000_001], 100).quantile(0.9) <= 1_000_001e-9


def test_times_that_are_too_long_are_counted_and_make_the_quantile_no_number() -> None:
    histogram = filled([1000] * 98 + [LONGEST, 2**40], 100)
    assert histogram.total == 10_000
    assert histogram.quantile(0.9) == pytest.approx(1000e-9, rel=PROMISED)
    assert histogram.quantile(0.99) is None
    assert histogram.longest == 2**40 / 1e9


@pytest.mark.parametrize("bad", [[-1], [5, -1], [0.5], [float("nan")]])
def test_what_is_no_time_is_refused_and_not_counted(bad: list[float]) -> None:
    histogram = LatencyHistogram()
    with pytest.raises(TelemetryError, match="whole nanoseconds from 0 up"):
        histogram.record_all(bad)
    for ns, times in [(-1, 1), (1, -1)]:
        with pytest.raises(TelemetryError, match="recorded 0 times or more"):
            histogram.record(ns, times)
    assert not histogram.cells.any()


@pytest.mark.parametrize("cells", [np.zeros(CELLS), np.zeros(CELLS - 1, np.uint64), np.zeros((1, CELLS), np.uint64)])
def test_an_array_that_does_not_fit_is_refused(cells: np.ndarray) -> None:
    with pytest.raises(TelemetryError, match=f"counts in {CELLS} numbers of type uint64"):
        LatencyHistogram(cells)


@pytest.mark.parametrize("q", [0, 1, -0.1, 99])
def test_a_quantile_outside_zero_to_one_is_refused(q: float) -> None:
    with pytest.raises(TelemetryError, match="between 0 and 1"):
        LatencyHistogram().quantile(q)


def test_wait_and_service_are_kept_apart_and_together() -> None:
    latencies = Latencies()
    latencies.record([0, 600, 1000], began=1000, ended=3000)
    assert latencies.wait.longest == 1000e-9
    assert latencies.wait.seconds == pytest.approx(1400e-9)
    assert latencies.service.seconds == pytest.approx(6000e-9), "each transaction of a batch is served as long as it"
    assert latencies.response.seconds == pytest.approx(7400e-9)
    assert latencies.wait.total == latencies.service.total == latencies.response.total == 3


@pytest.mark.parametrize("stamps", [([3, 5], 4, 6), ([3], 4, 3)])
def test_stamps_that_do_not_follow_each_other_count_nowhere(stamps: tuple[list[int], int, int]) -> None:
    latencies = Latencies()
    with pytest.raises(TelemetryError, match="monotonic clock"):
        latencies.record(*stamps)
    assert latencies.wait.total == latencies.service.total == latencies.response.total == 0
