"""Congestion control finds what is hot, keeps it to its seats, rests when told to, and waits by chance."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervm_core.control.congestion import (
    DEFAULT_RETRIES,
    LONGEST_PAUSE,
    SEATS,
    SHORTEST_PAUSE,
    TOP,
    Backoff,
    Congestion,
    pause,
    retries_from_environment,
)
from supervm_core.control.controller import Lane, Outcome, Plan, Sizing
from supervm_core.errors import SettingError

SIZING = Sizing(4, 2, 1000)


def executed(keys: list[list[int]], conflicted: list[bool]) -> Outcome:
    return Outcome(SIZING, np.array(keys, np.uint64), np.array(conflicted), 1.0, 1.0, 0)


def storm(control: Congestion, hot: int, share: float, seed: int = 0) -> None:
    """Show a batch in which a share of the transactions touches one key, and conflicts for that reason."""
    choose = Random(seed)
    touches = [choose.random() < share for _ in range(1000)]
    keys = [[choose.randrange(100, 10**6), hot if touch else choose.randrange(100, 10**6)] for touch in touches]
    control.after(executed(keys, touches))


def test_the_key_that_conflicts_is_hot_and_those_beside_it_are_not() -> None:
    control = Congestion()
    storm(control, hot=7, share=0.3)
    assert control.hot.tolist() == [7]


def test_a_key_that_many_use_without_conflict_is_not_hot() -> None:
    control = Congestion()
    control.after(executed([[7, 7]] * 500, [False] * 500))
    assert control.hot.size == 0


def test_a_key_is_forgotten_when_others_conflict() -> None:
    control = Congestion()
    storm(control, hot=7, share=0.3)
    for seed in range(25):
        storm(control, hot=8, share=0.3, seed=seed)
    assert control.hot.tolist() == [8]


def test_a_transaction_that_names_a_key_twice_counts_once() -> None:
    control = Congestion()
    # Three of a hundred transactions are less than it takes, six would be enough.
    control.after(executed([[1, 1], [2, 2]] * 3 + [[100 + n // 4, 200 + n // 4] for n in range(94)], [True] * 100))
    assert control.hot.size == 0


@given(st.lists(st.lists(st.integers(0, 3), min_size=2, max_size=2), min_size=1, max_size=60), st.integers(1, 80))
def test_hot_transactions_take_their_seats_in_order_and_the_rest_waits(keys: list[list[int]], size: int) -> None:
    control = Congestion()
    control.after(executed([[0, 9]] * 50, [True] * 50))
    assert set(control.hot.tolist()) == {0, 9}
    lane = control.before(Plan.of(Sizing(1, 1, size), keys)).lane
    hot = [place for place, row in enumerate(keys) if 0 in row]
    seats = max(int(SEATS * min(size, len(keys))), 1)
    assert [lane[place] for place in hot[:seats]] == [Lane.HOT] * len(hot[:seats])
    assert [lane[place] for place in hot[seats:]] == [Lane.LATER] * len(hot[seats:])
    assert all(lane[place] == Lane.FAST for place in range(len(keys)) if place not in hot)


def test_what_another_controller_put_off_stays_put_off() -> None:
    control = Congestion()
    storm(control, hot=7, share=0.3)
    plan = Plan(SIZING, np.array([[7], [1]], np.uint64), np.array([Lane.LATER, Lane.ORDERED], np.uint8))
    assert control.before(plan).lane.tolist() == [Lane.LATER, Lane.ORDERED]
    assert plan.lane.tolist() == [Lane.LATER, Lane.ORDERED]


def test_no_more_keys_are_hot_than_are_watched() -> None:
    control = Congestion()
    control.after(executed([list(range(40))] * 20, [True] * 20))
    assert control.hot.size == TOP


@pytest.mark.parametrize(("rate", "rests"), [(0, 0), (0.5, 0), (0.75, 0.03), (1, 0.05)])
def test_admission_rests_longer_the_more_conflicts_there_were(rate: float, rests: float) -> None:
    assert pause(rate) == pytest.approx(rests)


@given(st.floats(0.5, 1, exclude_min=True))
def test_a_pause_is_ten_to_fifty_milliseconds(rate: float) -> None:
    assert SHORTEST_PAUSE <= pause(rate) <= LONGEST_PAUSE


def test_a_pause_is_asked_for_once() -> None:
    control = Congestion()
    storm(control, hot=7, share=1.0)
    assert control.before(Plan.of(SIZING, [[1]])).pause == pytest.approx(LONGEST_PAUSE)
    assert control.before(Plan.of(SIZING, [[1]])).pause == 0


@given(st.lists(st.integers(0, 64), min_size=1, max_size=20), st.integers(0, 2**32))
def test_no_delay_is_above_the_limit_of_its_attempt(attempts: list[int], seed: int) -> None:
    backoff = Backoff(base=0.001, longest=0.05)
    delays = backoff.delays(np.array(attempts), Random(seed))
    for attempt, delay in zip(attempts, delays.tolist(), strict=True):
        assert 0 <= delay <= min(0.05, 0.001 * 2**attempt)


@pytest.mark.parametrize("attempt", [0, 3, 20])
def test_delays_are_spread_over_the_whole_range_also_at_the_limit(attempt: int) -> None:
    """A delay that is cut off at the longest brings everybody back at the same moment."""
    limit = min(0.05, 0.001 * 2**attempt)
    delays = Backoff(base=0.001, longest=0.05).delays(np.full(4000, attempt), Random(1))
    shares = np.histogram(delays, bins=4, range=(0, limit))[0] / 4000
    # Seven standard deviations of a share of a quarter.
    assert np.abs(shares - 0.25).max() < 0.05


@pytest.mark.parametrize(
    "parameters",
    [{"base": 0}, {"base": 0.1, "longest": 0.05}, {"longest": float("inf")}, {"base": float("nan")}],
)
def test_times_that_make_no_back_off_are_refused(parameters: dict[str, float]) -> None:
    with pytest.raises(SettingError, match="0 < base <= longest is wanted"):
        Backoff(**parameters)


@pytest.mark.parametrize("retries", [-1, 65])
def test_retries_have_a_range(retries: int) -> None:
    with pytest.raises(SettingError, match="from 0 to 64"):
        Backoff(max_retries=retries)


def test_the_variable_sets_the_retries() -> None:
    assert retries_from_environment({}) == DEFAULT_RETRIES
    assert retries_from_environment({"FASTPATH_MAX_RETRIES": "3"}) == 3
    with pytest.raises(SettingError, match="'65'; a whole number from 0 to 64"):
        retries_from_environment({"FASTPATH_MAX_RETRIES": "65"})
