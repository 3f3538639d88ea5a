"""Quantiles, from single samples and from histograms, against numpy, exact figures, and each other."""

from __future__ import annotations

import bisect
import itertools
import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_supervm.measure.quantiles import QUANTILES, Histogram, of_histogram, of_samples, samples_needed
from pytest_supervm.model import Series

LATENCY = st.floats(min_value=0, max_value=1e6, allow_nan=False)

NUMBERS_FOR_ALL = 10_000


def values(found: list[Series]) -> dict[str, float | None]:
    return {series.metric.name: series.value for series in found}


def enough(samples: list[float]) -> list[float]:
    """Repeat samples until every quantile is a number."""
    return list(itertools.islice(itertools.cycle(samples), NUMBERS_FOR_ALL))


def unbinned(counts: list[int]) -> int:
    return max(1, math.ceil(NUMBERS_FOR_ALL / max(1, sum(counts))))


@st.composite
def histograms(draw: st.DrawFn) -> Histogram:
    """A histogram with enough samples for every quantile, empty buckets included."""
    widths = draw(st.lists(st.floats(min_value=1e-9, max_value=10), min_size=1, max_size=12))
    edges = list(itertools.accumulate(widths, initial=draw(st.floats(min_value=0, max_value=1))))
    edges = sorted(set(edges))
    counts = draw(st.lists(st.integers(0, 50), min_size=len(edges) - 1, max_size=len(edges) - 1).filter(any))
    return Histogram(edges, [count * unbinned(counts) for count in counts])


@pytest.mark.parametrize(("name", "needed"), [("p50", 20), ("p90", 100), ("p95", 200), ("p99", 1000), ("p999", 10_000)])
def test_a_quantile_of_one_sample_too_few_is_no_number_and_says_how_many_it_needs(name: str, needed: int) -> None:
    metric = f"latency_{name}"
    assert samples_needed(QUANTILES[metric]) == needed

    few = {series.metric.name: series for series in of_samples([0.1] * (needed - 1), "do more")}[metric]
    assert few.value is None
    assert few.unmeasured == f"{name} needs {needed} samples and there are {needed - 1}; do more"
    assert few.samples == needed - 1

    just = {series.metric.name: series for series in of_samples([0.1] * needed, "do more")}[metric]
    assert just.value == 0.1
    assert just.unmeasured is None
    assert just.samples == needed


def test_a_histogram_with_too_few_samples_is_no_number_either() -> None:
    found = {series.metric.name: series for series in of_histogram(Histogram([0, 1, 2], [500, 499]), "do more")}
    assert found["latency_p95"].value is not None
    assert found["latency_p99"].unmeasured == "p99 needs 1000 samples and there are 999; do more"
    assert of_histogram(Histogram([0], []), "do more")[0].unmeasured == "p50 needs 20 samples and there are 0; do more"


@pytest.mark.parametrize("count", [10_000, 10_001, 12_345])
def test_samples_agree_with_numpy(count: int) -> None:
    samples = np.random.default_rng(7).lognormal(-7, 1, count)
    found = values(of_samples(samples, ""))
    for name, q in QUANTILES.items():
        assert found[name] == pytest.approx(np.quantile(samples, q), rel=1e-12)


def test_quantiles_of_a_row_of_numbers_are_exact() -> None:
    found = values(of_samples(range(10_001), ""))
    assert found == {
        "latency_p50": 5000,
        "latency_p90": 9000,
        "latency_p95": 9500,
        "latency_p99": 9900,
        "latency_p999": pytest.approx(9990),
    }


def test_a_histogram_is_interpolated_inside_its_bucket() -> None:
    found = values(of_histogram(Histogram([0, 1, 3, 7], [5000, 4000, 1000]), ""))
    assert found == {
        "latency_p50": 1,
        "latency_p90": 3,
        "latency_p95": 5,
        "latency_p99": pytest.approx(6.6),
        "latency_p999": pytest.approx(6.96),
    }


def test_empty_buckets_hold_no_quantile() -> None:
    found = values(of_histogram(Histogram([0, 1, 2, 3, 4], [0, 5000, 0, 5000]), ""))
    assert found["latency_p50"] == 2
    assert found["latency_p90"] == pytest.approx(3.8)


def test_a_quantile_in_an_unbounded_bucket_is_no_number_but_those_below_are() -> None:
    found = {series.metric.name: series for series in of_histogram(Histogram([0, 1, math.inf], [9600, 400]), "")}
    assert found["latency_p95"].value == pytest.approx(0.95 * 10_000 / 9600)
    assert found["latency_p99"].value is None
    assert "unbounded last bucket" in (found["latency_p99"].unmeasured or "")


@pytest.mark.parametrize("bad", [-1e-9, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 500, 999])
def test_samples_that_are_no_latencies_are_refused_wherever_they_stand(bad: float, place: int) -> None:
    samples = [0.1] * 999
    samples.insert(place, bad)
    with pytest.raises(ValueError, match="finite and not negative"):
        of_samples(samples, "")


@pytest.mark.parametrize(
    ("edges", "counts", "says"),
    [
        ([0, 1], [1, 2], "3 edges, not 2"),
        ([], [], "1 edges, not 0"),
        ([0, 2, 1], [1, 2], "ascend"),
        ([0, 1, 1], [1, 2], "ascend"),
        ([-1, 1], [1], "ascend"),
        ([0, math.nan, 2], [1, 2], "ascend"),
        ([math.nan], [], "ascend"),
        ([0, 1], [-1], "not negative"),
        ([0, 1], [0.5], "whole number"),
        ([0, 1], [math.nan], "whole number"),
        ([0, 1], [math.inf], "whole number"),
    ],
)
def test_a_histogram_that_makes_no_sense_is_refused(edges: list[float], counts: list[int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        of_histogram(Histogram(edges, counts), "")


def test_numpy_columns_are_as_good_as_lists() -> None:
    lists = Histogram([0, 1, 3, 7], [5000, 4000, 1000])
    columns = Histogram(np.array(lists.edges, np.float32), np.array(lists.counts, np.uint64))
    assert values(of_histogram(columns, "")) == values(of_histogram(lists, ""))
    assert values(of_samples(np.arange(10_001, dtype=np.int64), "")) == values(of_samples(range(10_001), ""))


@given(st.lists(LATENCY, min_size=1, max_size=40))
def test_quantiles_of_samples_rise_with_q_and_stay_within_the_samples(samples: list[float]) -> None:
    found = list(values(of_samples(enough(samples), "")).values())
    assert found == sorted(found)
    assert min(samples) <= found[0]
    assert found[-1] <= max(samples)


@given(st.lists(LATENCY, min_size=1, max_size=40), st.integers(0, 1000))
def test_the_order_of_samples_does_not_matter(samples: list[float], seed: int) -> None:
    samples = enough(samples)
    shuffled = random.Random(seed).sample(samples, len(samples))
    assert of_samples(shuffled, "") == of_samples(samples, "")


@given(histograms())
def test_quantiles_of_a_histogram_rise_with_q_and_stay_within_its_filled_buckets(histogram: Histogram) -> None:
    found = list(values(of_histogram(histogram, "")).values())
    filled = [index for index, count in enumerate(histogram.counts) if count]
    slack = 1 + 1e-12
    assert all(low <= high * slack for low, high in itertools.pairwise(found))
    assert histogram.edges[filled[0]] <= found[0]
    assert found[-1] <= histogram.edges[filled[-1] + 1] * slack


@given(st.lists(st.floats(min_value=0, max_value=9.999), min_size=1, max_size=40))
def test_a_histogram_of_samples_has_their_quantiles_within_a_bucket(samples: list[float]) -> None:
    """The two definitions read neighbouring samples, so the sample that is read may be the next."""
    samples = sorted(enough(samples))
    edges = [index / 4 for index in range(41)]
    counts = [0] * 40
    for sample in samples:
        counts[bisect.bisect_right(edges, sample) - 1] += 1
    binned, exact = values(of_histogram(Histogram(edges, counts), "")), values(of_samples(samples, ""))
    for name, q in QUANTILES.items():
        position = math.floor(q * (len(samples) - 1))
        gap = samples[min(position + 1, len(samples) - 1)] - samples[position]
        assert abs(binned[name] - exact[name]) <= 0.25 + gap + 1e-9
