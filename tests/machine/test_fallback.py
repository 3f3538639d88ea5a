"""The choice between ways follows the prices, finds out soon, and does not alternate."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervm_core.errors import SettingError
from supervm_core.machine.fallback import FIRST_TRY, LAST_TRY, Fallback


def drive(choice: Fallback, batches: int, *prices: float) -> list[int]:
    """Execute batches of 1000 at these prices and return which way each went."""
    ways = []
    for _ in range(batches):
        trial = choice.trial()
        way = choice.settled if trial is None else trial
        choice.observe(way, 1000, 1000 * prices[way])
        ways.append(way)
    return ways


@given(st.floats(1e-9, 1e-3), st.floats(1.2, 100), st.integers(0, 2))
def test_nearly_all_batches_go_the_cheapest_way(price: float, factor: float, cheapest: int) -> None:
    prices = [price if way == cheapest else price * factor for way in range(3)]
    ways = drive(Fallback(3), 2000, *prices)
    assert ways.count(cheapest) >= 1960


def test_work_that_begins_to_crawl_falls_back_within_a_few_batches() -> None:
    choice = Fallback(2)
    drive(choice, 5000, 1.0, 1.8)
    ways = drive(choice, 50, 20.0, 1.8)
    assert ways[:4].count(0) <= 2
    assert all(ways[4:FIRST_TRY])


def test_several_workers_come_back_when_their_cores_do() -> None:
    choice = Fallback(2)
    drive(choice, 5000, 20.0, 1.8)
    ways = drive(choice, 2 * LAST_TRY, 1.0, 1.8)
    assert not any(ways[LAST_TRY + 2 + FIRST_TRY :][:FIRST_TRY])
    assert choice.settled == 0


def test_ways_that_cost_the_same_do_not_alternate() -> None:
    ways = drive(Fallback(3), 1000, 1.0, 0.95, 1.0)
    assert ways.count(0) > 975


def test_dearer_work_is_not_mistaken_for_a_dearer_way() -> None:
    """Calls cost more than transfers whichever way: after one look at each, nothing changes."""
    choice = Fallback(3)
    drive(choice, 100, 1.0, 1.8, 2.5)
    ways = drive(choice, 100, 50.0, 90.0, 125.0)
    assert ways.count(0) >= 92


def test_first_work_on_a_way_is_not_its_price() -> None:
    """It is small and touches memory for the first time: as a price it would keep the best way away for long."""
    choice = Fallback(3)
    choice.observe(0, 10, 10 * 50.0)
    first: set[int] = {0}
    for _ in range(6):
        trial = choice.trial()
        way = choice.settled if trial is None else trial
        price = (1.0, 1.5, 6.0)[way] * (1 if way in first else 20)
        first.add(way)
        choice.observe(way, 1000, 1000 * price)
    assert choice.settled == 0
    assert choice.trial() is None


def test_much_work_weighs_more_than_little() -> None:
    choice = Fallback(2)
    drive(choice, 4, 1.0, 5.0)
    choice.observe(0, 10, 10 * 30.0)
    assert choice.trial() is None


def test_one_way_needs_no_trial() -> None:
    assert set(drive(Fallback(1), 100, 1.0)) == {0}


def test_an_empty_batch_teaches_nothing() -> None:
    choice = Fallback(2)
    for _ in range(10):
        choice.observe(0, 0, 1.0)
        assert choice.trial() is None


def test_no_way_at_all_is_refused() -> None:
    with pytest.raises(SettingError, match="0 ways to choose between"):
        Fallback(0)


@pytest.mark.parametrize(("work", "seconds"), [(-1, 1.0), (1, -1.0)])
def test_negative_batches_are_refused(work: int, seconds: float) -> None:
    with pytest.raises(SettingError, match="neither can be negative"):
        Fallback(2).observe(0, work, seconds)
