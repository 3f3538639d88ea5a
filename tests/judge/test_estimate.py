"""The estimate against the formulas it cites, written a second time, slowly and plainly."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import digamma, polygamma
from scipy.stats import kurtosis, t

from pytest_supervm.judge.estimate import (
    MOST_RUNS,
    SPREAD_FLOOR,
    TIE,
    Estimate,
    Spread,
    predict,
    runs_needed,
    spreads,
)

deviations = st.floats(-0.2, 0.2).map(lambda value: round(value, 4))
regular = st.integers(2, 7).flatmap(
    lambda runs: st.lists(st.lists(deviations, min_size=runs, max_size=runs), min_size=1, max_size=6)
)
ragged = st.lists(st.dictionaries(st.integers(0, 8), deviations, max_size=8), max_size=6)
some_estimates = st.builds(Estimate, st.floats(-1, 1), st.floats(1e-3, 1), st.floats(1, 60))


def by_the_book(kept: list[dict[int, float]]) -> list[Spread | None]:
    """Smyth 2004, section 6.2, with the module's three cautions and its cap by correlation."""
    repeated = [list(values.values()) for values in kept if len(values) > 1]
    tables = [values for values in kept if len(values) > 1]
    logs, trigammas = [], []
    for values in repeated:
        d = len(values) - 1
        z = math.log(max(statistics.variance(values), TIE**2))
        logs.append(z - digamma(d / 2) + math.log(d / 2))
        trigammas.append(polygamma(1, d / 2))
    d0 = s0_squared = 0.0
    if len(repeated) > 1:
        mean = statistics.fmean(logs)
        right = sum((e - mean) ** 2 for e in logs) / (len(logs) - 1) - statistics.fmean(trigammas)
        if right <= 0:
            d0, s0_squared = math.inf, math.exp(mean)
        else:
            d0 = 2 * math.exp(brentq(lambda x: math.log(polygamma(1, math.exp(x)) / right), -30, 40, xtol=1e-13))
            s0_squared = math.exp(mean + digamma(d0 / 2) - math.log(d0 / 2))
    together = 0.0
    for first in tables:
        for second in tables:
            runs = sorted(first.keys() & second.keys())
            x, y = [first[run] for run in runs], [second[run] for run in runs]
            told = len(runs) >= 3 and len(set(x)) > 1 and len(set(y)) > 1
            together += statistics.correlation(x, y) ** 2 if told else 1
    tailed = [values for values in repeated if len(values) > 3 and len(set(values)) > 1]
    excess = sum(len(v) * kurtosis(v, bias=False) for v in tailed) / sum(map(len, tailed)) if tailed else 0.0
    tails = 4 + 6 / excess if excess > 0 else math.inf
    answer: list[Spread | None] = []
    for values in kept:
        d = len(values) - 1
        if d < 1:
            answer.append(None)
            continue
        borrowed = min(d0, d)
        variance = (borrowed * s0_squared + d * max(statistics.variance(values.values()), TIE**2)) / (borrowed + d)
        cap = sum(len(v) - 1 for v in repeated) * len(repeated) / together
        answer.append(Spread(max(math.sqrt(variance), SPREAD_FLOOR), min(borrowed + d, max(cap, d), tails), tails))
    return answer


def same(one: Spread | None, other: Spread | None) -> bool:
    if one is None or other is None:
        return one is other
    return (one.sd, one.df, one.tails) == pytest.approx((other.sd, other.df, other.tails), rel=1e-5)


@given(ragged)
@settings(deadline=None)
def test_spreads_are_those_of_the_cited_formulas(kept):
    assert all(map(same, spreads(kept), by_the_book(kept)))


@given(regular.filter(lambda table: len(table[0]) > 3))
@settings(deadline=None, max_examples=50)
def test_spreads_are_those_of_the_cited_formulas_when_every_run_holds_every_case(table):
    kept = [dict(enumerate(values)) for values in table]
    assert all(map(same, spreads(kept), by_the_book(kept)))


@given(ragged, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_order_of_cases_and_of_runs_does_not_matter(kept, random):
    order = list(range(len(kept)))
    random.shuffle(order)
    shuffled = [dict(random.sample(sorted(kept[index].items()), len(kept[index]))) for index in order]
    found = spreads(kept)
    assert all(same(spread, found[index]) for spread, index in zip(spreads(shuffled), order, strict=True))


@given(regular, st.floats(1e-6, 1e6))
@settings(deadline=None)
def test_the_unit_does_not_matter(table, scale):
    assume(all(statistics.pstdev(values) > 1e-4 for values in table))
    kept = [dict(enumerate(values)) for values in table]
    scaled = [{run: value + math.log(scale) for run, value in values.items()} for values in kept]
    assert all(map(same, spreads(kept), spreads(scaled)))


def test_one_kept_run_tells_nothing_however_much_is_known_of_other_cases():
    known = {run: 0.01 * run for run in range(10)}
    assert spreads([known, {9: 0.0}, known, {}])[1::2] == [None, None]
    assert spreads([{0: 0.0}]) == [None]
    assert spreads([]) == []


def test_equal_figures_are_no_certainty():
    (spread,) = spreads([dict.fromkeys(range(5), 0.25)])
    assert spread == Spread(SPREAD_FLOOR, 4)


def test_quiet_cases_that_differ_are_not_taken_for_agreeing_ones_because_of_the_floor():
    flips = [[1, -1, 1, -1, 1, -1, 1, -1], [1, 1, -1, -1, 1, 1, -1, -1], [1, 1, 1, 1, -1, -1, -1, -1]]
    sizes = [0.0001, 0.001, 0.004]
    found = spreads(
        [{run: size * sign for run, sign in enumerate(row)} for row, size in zip(flips, sizes, strict=True)]
    )
    assert all(spread.sd == SPREAD_FLOOR and 7 < spread.df < 8 for spread in found)


def test_cases_that_move_as_one_count_as_one_witness():
    moves = [0.0, 0.01, -0.02, 0.015, 0.003, -0.01]
    alone, *_ = spreads([dict(enumerate(moves))])
    as_one = spreads([{run: move + case for run, move in enumerate(moves)} for case in range(8)])
    assert {round(spread.df, 6) for spread in as_one} == {alone.df}


def test_unrelated_cases_that_agree_lend_as_much_as_a_case_has_itself():
    flips = [[1, -1, 1, -1, 1, -1, 1, -1], [1, 1, -1, -1, 1, 1, -1, -1], [1, 1, 1, 1, -1, -1, -1, -1]]
    found = spreads([{run: 0.02 * sign for run, sign in enumerate(signs)} for signs in flips])
    assert [spread.df for spread in found] == [14, 14, 14]


def test_a_run_far_out_lowers_the_degrees_of_freedom_below_those_of_its_case():
    (spread,) = spreads([dict(enumerate([0.0, 0.01, -0.01, 0.005, -0.005, 0.008, -0.008, 0.002, -0.002, 0.3]))])
    assert 4 < spread.df == spread.tails < 9


@given(some_estimates, st.floats(1e-4, 0.2))
def test_an_effect_is_rejected_exactly_if_its_interval_excludes_zero(estimate, alpha):
    assume(not math.isclose(estimate.p_value, alpha, rel_tol=1e-9))
    low, high = estimate.interval(alpha)
    assert (estimate.p_value < alpha) == (low > 0 or high < 0)
    assert estimate.p_value == pytest.approx(2 * t.sf(abs(estimate.effect) / estimate.error, estimate.df), rel=1e-9)


def test_a_prediction_is_wider_than_the_confidence_of_a_mean():
    estimate = predict([0.0, 0.1, 0.2], 0.4, Spread(0.05, 7))
    assert estimate == Estimate(pytest.approx(0.3), pytest.approx(0.05 * math.sqrt(4 / 3)), 7)


thresholds = st.floats(0.005, 0.5)
alphas = st.floats(1e-4, 0.1)
kinds_of_runs = st.builds(Spread, st.floats(0.005, 0.1), st.just(9.0), st.sampled_from([math.inf, 4.5, 12.0]))


def reach(runs: int, alpha: float, spread: Spread) -> float:
    return t.isf(alpha / 2, min(runs - 1, spread.tails)) * spread.sd * math.sqrt(1 + 1 / runs)


@given(thresholds, alphas, kinds_of_runs)
@settings(deadline=None, max_examples=50)
def test_as_many_runs_as_are_named_would_do_and_one_fewer_would_not(threshold, alpha, spread):
    needed = runs_needed(threshold, alpha, spread)
    if needed is None:
        assert reach(MOST_RUNS, alpha, spread) > threshold
        return
    assert reach(needed, alpha, spread) <= threshold * (1 + 1e-9)
    assert needed == 2 or reach(needed - 1, alpha, spread) > threshold * (1 - 1e-9)


@given(thresholds, alphas, kinds_of_runs, st.floats(1, 3))
@settings(deadline=None, max_examples=50)
def test_a_smaller_threshold_or_a_larger_spread_never_needs_fewer_runs(threshold, alpha, spread, factor):
    def needed(threshold: float, sd: float) -> int:
        return runs_needed(threshold, alpha, Spread(sd, 9, spread.tails)) or MOST_RUNS + 1

    assert needed(threshold, spread.sd) <= needed(threshold / factor, spread.sd)
    assert needed(threshold, spread.sd) <= needed(threshold, spread.sd * factor)
