"""The choice between several workers and one follows the prices, finds out soon, and does not alternate."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervm_core.errors import SettingError
from supervm_core.machine.fallback import FIRST_TRY, LAST_TRY, Fallback


def drive(choice: Fallback, batches: int, several: float, one: float) -> list[bool]:
    """Execute batches of 1000 at these prices and return which way each went."""
    ways = []
    for _ in range(batches):
        way = choice.parallel
        choice.observe(way, 1000, 1000 * (several if way else one))
        ways.append(way)
    return ways


@given(st.floats(1e-9, 1e-3), st.floats(1.2, 100), st.booleans())
def test_nearly_all_batches_go_the_cheaper_way(price: float, factor: float, several_is_cheaper: bool) -> None:
    prices = (price, price * factor) if several_is_cheaper else (price * factor, price)
    ways = drive(Fallback(), 2000, *prices)
    assert ways.count(several_is_cheaper) >= 1980


def test_work_that_begins_to_crawl_falls_back_within_a_few_batches() -> None:
    choice = Fallback()
    drive(choice, 5000, several=1.0, one=1.8)
    ways = drive(choice, 50, several=20.0, one=1.8)
    assert ways[:4].count(True) <= 2
    assert not any(ways[4:FIRST_TRY])


def test_several_workers_come_back_when_their_cores_do() -> None:
    choice = Fallback()
    drive(choice, 5000, several=20.0, one=1.8)
    ways = drive(choice, 2 * LAST_TRY, several=1.0, one=1.8)
    assert all(ways[LAST_TRY + 2 + FIRST_TRY :][:FIRST_TRY])
    assert choice.settled


def test_ways_that_cost_the_same_do_not_alternate() -> None:
    ways = drive(Fallback(), 1000, several=1.0, one=0.95)
    assert ways.count(False) < 10


def test_dearer_work_is_not_mistaken_for_a_dearer_way() -> None:
    """Calls cost more than transfers either way: after one look, nothing changes."""
    choice = Fallback()
    drive(choice, 100, several=1.0, one=1.8)
    ways = drive(choice, 100, several=50.0, one=90.0)
    assert ways.count(False) <= 4


def test_an_empty_batch_teaches_nothing() -> None:
    choice = Fallback()
    for _ in range(10):
        choice.observe(choice.parallel, 0, 1.0)
        assert choice.parallel


@pytest.mark.parametrize(("work", "seconds"), [(-1, 1.0), (1, -1.0)])
def test_negative_batches_are_refused(work: int, seconds: float) -> None:
    with pytest.raises(SettingError, match="neither can be negative"):
        Fallback().observe(True, work, seconds)
