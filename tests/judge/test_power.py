"""What a gate can tell, in agreement with the jury that decides."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from pytest_supervm.judge import power
from pytest_supervm.judge.live import LOOKS, Jury
from pytest_supervm.judge.power import CAUGHT, LARGEST, Rules, chance, draws, exact, launches_within, smallest, told
from pytest_supervm.judge.selfcheck import ALARMS
from pytest_supervm.judge.verdict import NEGLIGIBLE

THRESHOLD = math.log(1.05)
CASE = ("the slow one", "throughput")
LAUNCHES = (2, 5, 6, 7, 12, 20, 24, 48)

spreads = st.floats(0, 0.2)
rules = st.builds(
    Rules,
    threshold=st.floats(0.005, 0.3),
    family=st.integers(1, 200),
    level=st.sampled_from([0.001, 0.01, 0.1]),
    launches=st.sampled_from(LAUNCHES),
)


def told_by_the_jury(effects, others, rules):
    """Play a gate with these effects of launch pairs, as the match holds its looks."""
    jury = Jury({CASE: rules.threshold} | {(str(at), "t"): rules.threshold for at in range(len(others))}, rules.level)
    for look in sorted({*(look for look in LOOKS if look < rules.launches), rules.launches}):
        jury.look({CASE: list(effects[:look])} | {(str(at), "t"): list(one[:look]) for at, one in enumerate(others)})
    return jury.decisions[CASE].verdict in ALARMS


@pytest.mark.parametrize("launches", LAUNCHES)
@pytest.mark.parametrize(
    ("slowdown", "spread", "threshold"),
    [(0.03, 0.01, THRESHOLD), (0.06, 0.03, THRESHOLD), (0.08, 0.02, 0.01), (0.0111, 0.0001, THRESHOLD)],
)
def test_a_case_alone_is_told_in_exactly_the_gates_in_which_the_jury_tells_it(launches, slowdown, spread, threshold):
    alone = Rules(threshold, family=1, level=0.01, launches=launches)
    found = told(slowdown, spread, alone)
    drawn = slowdown + spread * draws()[:60]
    assert [told_by_the_jury(effects, [], alone) for effects in drawn] == found[:60].tolist()


def test_a_case_among_unchanged_ones_is_told_as_often_as_by_the_jury():
    six, gates = Rules(THRESHOLD, family=6, level=0.01, launches=20), 400
    rng = np.random.default_rng(1)
    for slowdown in (0.03, 0.045):
        found = sum(
            told_by_the_jury(slowdown + rng.normal(0, 0.02, 20), rng.normal(0, 0.02, (5, 20)), six)
            for _ in range(gates)
        )
        expected = chance(slowdown, 0.02, six)
        assert 0.2 < expected < 0.99
        assert binom.ppf(0.001, gates, expected - 0.01) <= found <= binom.ppf(0.999, gates, expected + 0.01)


@settings(deadline=None, max_examples=40)
@given(spreads, rules)
def test_the_smallest_slowdown_is_told_often_enough_and_a_smaller_one_is_not(spread, rules):
    found = smallest(spread, rules)
    if found is None:
        assert chance(LARGEST, spread, rules) < CAUGHT
    else:
        assert chance(found, spread, rules) >= CAUGHT
        assert chance(0.95 * found - 0.0005, spread, rules) < CAUGHT
        assert found > min(NEGLIGIBLE, rules.threshold)


@settings(deadline=None, max_examples=40)
@given(spreads, rules, st.floats(0.002, NEGLIGIBLE), st.floats(1.05, 5), st.sampled_from(LAUNCHES))
def test_more_spread_a_larger_family_or_fewer_launches_never_tell_more(spread, rules, threshold, factor, launches):
    """A threshold of a percent at most: a slowdown that is worth a word is then never found equivalent."""

    def least(spread, family, launches):
        return smallest(spread, Rules(threshold, family, rules.level, launches)) or 2 * LARGEST

    few, many = sorted((rules.launches, launches))
    here = least(spread, rules.family, many)
    step = 2 * LARGEST / 2**power.STEPS
    assert here <= least(spread * factor, rules.family, many) + step
    assert here <= least(spread, rules.family * 2, many) + step
    assert here <= least(spread, rules.family, few) + step


def test_under_a_wide_threshold_a_quiet_case_tells_more_than_a_noisy_one():
    wide = Rules(0.25, 7, 0.001, launches=24)
    assert smallest(0.06, wide) < smallest(0.07, wide), "what is equivalent is looked at again as long as it seems slow"


def test_a_single_launch_pair_tells_nothing():
    assert smallest(0.001, Rules(THRESHOLD, 1, 0.01, launches=1)) is None


def test_a_fifth_of_a_percent_of_spread_leaves_what_is_negligible_as_the_bound():
    found = smallest(0.002, Rules(THRESHOLD, 6, 0.01, launches=48))
    assert found is not None
    assert 0.01 < found < 0.02


@pytest.mark.parametrize(
    ("budget", "pace", "launches"), [(60, 2, 30), (60, 61, 1), (60, 0.1, LOOKS[-1]), (60, 60, 1), (59.9, 30, 1)]
)
def test_the_budget_allows_whole_launches_one_at_least(budget, pace, launches):
    assert launches_within(budget, pace) == launches


@pytest.mark.parametrize("gates", [1, 3, 12])
def test_the_interval_of_a_rate_holds_the_truth_at_least_as_often_as_it_says(gates):
    assert exact(0, gates) == (0, pytest.approx(1 - 0.025 ** (1 / gates)))
    intervals = [exact(alarms, gates) for alarms in range(gates + 1)]
    for rate in np.linspace(0, 1, 41):
        covered = [low <= rate <= high for low, high in intervals]
        assert binom.pmf(range(gates + 1), gates, rate)[covered].sum() >= power.COVERAGE - 1e-12
