"""An open loop counts from the intended start: a stall is in the figures of everyone who waited behind it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervm_core import SuperVM
from supervm_core.errors import BatchError
from supervm_core.workloads import transfers
from supervm_core.workloads.open_loop import NANOSECONDS, Run, by_chance, evenly, run

MILLISECOND = 1_000_000
ROUGHLY = pytest.approx


class Clock:
    """Time that passes only when somebody sleeps or works."""

    def __init__(self, wakes_late: int = 0) -> None:
        self.now = 12_345
        self.wakes_late = wakes_late

    def __call__(self) -> int:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += round(seconds * NANOSECONDS) + self.wakes_late


def simulated(
    due: object, service: object, *, batch_size: int = 1, wakes_late: int = 0
) -> tuple[Run, list[tuple[int, int]]]:
    """Run against a subject that takes ``service(first, last)`` nanoseconds; also return what it was asked to serve."""
    clock, served = Clock(wakes_late), []

    def serve(first: int, last: int) -> None:
        served.append((first, last))
        clock.now += service(first, last)

    return run(serve, due, batch_size=batch_size, clock=clock, sleep=clock.sleep), served


def test_a_stall_is_seen_by_all_who_waited_behind_it() -> None:
    """Ten seconds at a thousand a second; the 5000th takes a whole second, all others a tenth of a millisecond.

    A closed loop would report one slow transaction in ten thousand, and a p99 of a tenth of a millisecond.
    """
    result, _ = simulated(evenly(1000, 10_000), lambda first, _: NANOSECONDS if first == 5000 else MILLISECOND // 10)
    response, service = result.latencies.response, result.latencies.service
    assert service.quantile(0.999) == ROUGHLY(0.0001, rel=0.03)
    # The backlog of 1000 drains at 9 a millisecond: 1111 transactions wait, evenly from one second down to nothing.
    waited = 1111
    assert response.quantile(0.99) == ROUGHLY(1 - 100 / waited, rel=0.03)
    assert response.quantile(0.95) == ROUGHLY(1 - 500 / waited, rel=0.03)
    assert response.quantile(0.5) == ROUGHLY(0.0001, rel=0.03)
    assert result.latencies.wait.quantile(0.99) == ROUGHLY(1 - 100 / waited, rel=0.03)


TIMES = st.lists(st.integers(0, 3_000), max_size=40).map(lambda gaps: list(itertools.accumulate(gaps)))


@given(TIMES, st.lists(st.integers(0, 5_000), min_size=1, max_size=7), st.integers(1, 5))
def test_every_transaction_is_served_once_in_order_and_none_before_it_is_due(
    due: list[int], services: list[int], batch_size: int
) -> None:
    clock, served = Clock(), []
    start = clock.now

    def serve(first: int, last: int) -> None:
        assert 0 < last - first <= batch_size
        assert clock.now >= start + due[last - 1]
        served.extend(range(first, last))
        clock.now += services[first % len(services)]

    result = run(serve, np.array(due, np.int64), batch_size=batch_size, clock=clock, sleep=clock.sleep)
    assert served == list(range(len(due)))
    assert result.latencies.response.total == len(due)
    assert result.latencies.response.seconds == ROUGHLY(
        result.latencies.wait.seconds + result.latencies.service.seconds
    )


@given(TIMES, st.lists(st.integers(0, 5_000), min_size=40, max_size=40))
def test_responses_are_those_of_a_queue_with_one_server(due: list[int], services: list[int]) -> None:
    """Lindley's recursion: who comes waits until the one in front is done."""
    result, _ = simulated(np.array(due, np.int64), lambda first, _: services[first])
    free, responses = 0, []
    for moment, service in zip(due, services, strict=False):
        free = max(free, moment) + service
        responses.append(free - moment)
    assert result.latencies.response.seconds == ROUGHLY(sum(responses) / NANOSECONDS)
    assert result.latencies.response.longest == max(responses, default=0) / NANOSECONDS


def test_those_who_waited_go_together_up_to_the_batch_size() -> None:
    result, served = simulated([0, 1, 2, 3, 4, 5], lambda *_: 100, batch_size=3)
    assert served == [(0, 1), (1, 4), (4, 6)]
    assert result.batches == 3
    assert result.seconds == 300 / NANOSECONDS
    assert result.throughput == ROUGHLY(6 / 300e-9)


def test_waking_late_is_in_the_figures_and_on_its_own() -> None:
    result, _ = simulated([1000, 5000], lambda *_: 10, wakes_late=70)
    assert result.oversleep.total == 2
    assert result.oversleep.longest == 70 / NANOSECONDS
    assert result.latencies.wait.longest == 70 / NANOSECONDS


def test_chance_keeps_the_rate_and_comes_in_bursts() -> None:
    gaps = np.diff(by_chance(1000, 20_000, seed=4), prepend=0)
    # Mean and standard deviation of an exponential are equal; seven standard errors of each.
    assert gaps.mean() == ROUGHLY(MILLISECOND, rel=7 / np.sqrt(20_000))
    assert gaps.std() == ROUGHLY(MILLISECOND, rel=7 * np.sqrt(2 / 20_000))
    assert (gaps >= 0).all()
    assert not np.array_equal(by_chance(1000, 10, seed=1), by_chance(1000, 10, seed=2))
    assert np.array_equal(by_chance(1000, 10, seed=1), by_chance(1000, 10, seed=1))


def test_even_times_do_not_drift() -> None:
    assert evenly(3, 4).tolist() == [0, 333_333_333, 666_666_666, 1_000_000_000]
    assert evenly(3e6, 3_000_001)[-1] == NANOSECONDS


def test_an_executor_is_measured_with_the_real_clock() -> None:
    vm, batch = SuperVM.with_accounts(20, balance=10**6), transfers(300, accounts=20, nonces="strict")
    receipts = []
    result = run(lambda first, last: receipts.append(vm.execute(batch[first:last])), by_chance(1e5, 300), batch_size=64)
    assert result.latencies.response.total == 300
    assert sum(len(one) for one in receipts) == 300
    assert sum(one.failed for one in receipts) == 0
    assert result.seconds >= by_chance(1e5, 300)[-1] / NANOSECONDS


@pytest.mark.parametrize(
    ("due", "parameters", "says"),
    [
        ([2, 1], {}, "sort them"),
        ([-1], {}, "sort them"),
        ([0.5], {}, "whole nanoseconds"),
        ([[1]], {}, "whole nanoseconds"),
        ([1], {"batch_size": 0}, "batches of 0 transactions"),
    ],
)
def test_times_that_make_no_sense_are_refused_before_anything_is_served(due: list, parameters: dict, says: str) -> None:
    served: list[tuple[int, int]] = []
    with pytest.raises(BatchError, match=says):
        run(lambda *span: served.append(span), due, **parameters)
    assert not served


@pytest.mark.parametrize(("rate", "count"), [(0, 1), (float("inf"), 1), (float("nan"), 1), (1, -1)])
def test_rates_that_make_no_sense_are_refused(rate: float, count: int) -> None:
    for times in (evenly, by_chance):
        with pytest.raises(BatchError, match="a positive rate"):
            times(rate, count)


def test_nothing_to_do_is_done() -> None:
    result = run(lambda *_: None, [])
    assert (result.batches, result.throughput) == (0, 0.0)
