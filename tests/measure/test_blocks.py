"""Blocks: what is timed, how often, and for how long, on a clock that moves only when told to."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from pytest_supervm.measure import blocks

from .conftest import CPU_READING, MS, READING, US, S, Time


def run(
    call: blocks.Work,
    setup: blocks.Work | None = None,
    *,
    least: float = 1.0,
    most: float = 15.0,
    wanted: int | tuple[int, ...] = (),
    progress: blocks.Progress = lambda _spent, _planned: None,
) -> blocks.Timings:
    return blocks.run(
        call,
        setup,
        least=least,
        most=most,
        latencies_wanted=(wanted,) if isinstance(wanted, int) else wanted,
        progress=progress,
    )


def test_a_call_of_30_ns_is_repeated_until_a_block_is_a_twentieth_of_the_time(time: Time) -> None:
    timings = run(time.work(30), least=0.01)
    assert timings.calls == 16_667
    assert timings.wall == [16_667 * 30] * 20
    assert timings.cpu == timings.wall


def test_a_call_of_1_ms_gives_twenty_blocks_of_fifty_stamped_calls(time: Time) -> None:
    work = time.work(MS)
    timings = run(work)
    assert (timings.calls, timings.stamped) == (50, True)
    assert timings.wall == [50 * MS] * 20
    assert list(timings.latencies) == [MS] * 1000
    assert work.calls == 1 + 2 + 4 + 8 + 16 + 1000, "calibration must stop at a quarter of a block"


def test_a_call_of_1_s_gives_the_fewest_blocks_and_no_needless_call(time: Time) -> None:
    work = time.work(S)
    timings = run(work)
    assert timings.wall == [S] * 3
    assert work.calls == 1 + 3


def test_a_call_of_10_s_stops_after_one_block_rather_than_go_on_for_minutes(time: Time) -> None:
    work = time.work(10 * S)
    assert run(work).wall == [10 * S]
    assert work.calls == 2


def test_a_block_holds_many_clock_readings_however_little_time_is_asked_for(time: Time) -> None:
    timings = run(time.work(10), least=1e-9, most=1e-9)
    assert timings.calls == 100 * READING / 10


def test_no_less_time_than_asked_for_even_if_the_longest_time_is_shorter(time: Time) -> None:
    timings = run(time.work(MS), least=2, most=1)
    assert 1.9 * S <= sum(timings.wall) <= 2.1 * S


@pytest.mark.parametrize("slow", [1, 2, 8, 64, 700])
def test_one_slow_call_while_calibrating_is_not_taken_for_the_pace(time: Time, slow: int) -> None:
    count = itertools.count(1)
    timings = run(lambda: time.passes(20 * MS if next(count) == slow else US), least=0.1)
    assert not timings.stamped
    assert timings.calls > 1250, "a block must not be shorter than a quarter of its due"
    assert min(timings.wall) >= 5 * MS / 4
    assert len(timings.wall) <= 80


def test_a_pace_that_never_holds_ends_with_the_longest_time(time: Time) -> None:
    turn = itertools.cycle([20 * MS, US])  # calibration always meets the slow call, the block always the fast one
    timings = run(lambda: time.passes(next(turn)), least=0.01, most=0.5)
    assert timings.wall
    assert time.wall < 8 * S


def test_calls_that_vary_are_averaged_over_a_block_and_kept_one_by_one(time: Time) -> None:
    timings = run(time.work(MS, 3 * MS))
    assert timings.calls == 25
    assert sum(timings.wall) == sum(timings.latencies)
    assert sorted(set(timings.latencies)) == [MS, 3 * MS]
    assert set(timings.wall) == {49 * MS, 51 * MS}


def test_stamps_begin_where_they_cost_a_percent(time: Time) -> None:
    assert not run(time.work(100 * READING - 1), least=0.01).stamped
    assert run(time.work(100 * READING), least=0.01).stamped


def test_short_calls_get_a_latency_pass_of_their_own_beside_the_blocks(time: Time) -> None:
    timings = run(time.work(20 * READING), least=0.01, wanted=2500)
    assert list(timings.latencies) == [20 * READING] * 3000
    assert timings.wall == [500 * US] * 20


def test_latency_is_sampled_even_if_nobody_asks_for_a_quantile(time: Time) -> None:
    assert len(run(time.work(20 * READING), least=0.01, wanted=0).latencies) == 1000


def test_calls_that_drown_in_the_clock_have_no_latency(time: Time) -> None:
    assert not run(time.work(20 * READING - 1), least=0.01, wanted=1000).latencies


def test_blocks_go_on_until_a_quantile_has_its_samples(time: Time) -> None:
    timings = run(time.work(2 * MS), least=0.1, wanted=1000)
    assert len(timings.latencies) == 1000
    assert len(timings.wall) == 1000 / timings.calls


def test_samples_that_do_not_fit_into_the_longest_time_are_not_begun(time: Time) -> None:
    timings = run(time.work(2 * MS), least=0.1, most=1.9, wanted=1000)
    assert len(timings.latencies) == 50, "half of the samples would cost time and give no number"


def test_of_several_quantiles_the_highest_that_can_be_had_is_sought(time: Time) -> None:
    assert len(run(time.work(2 * MS), least=0.1, most=3.0, wanted=(1000, 10_000)).latencies) == 1000


def test_setup_runs_before_every_call_and_outside_wall_and_cpu_time(time: Time) -> None:
    order: list[str] = []

    def setup() -> None:
        order.append("setup")
        time.passes(3 * MS, 5 * MS)

    def call() -> None:
        order.append("call")
        time.passes(MS)

    timings = run(call, setup, least=0.1)
    assert order == ["setup", "call"] * (len(order) // 2)
    assert timings.stamped
    assert set(timings.latencies) == {MS}
    assert timings.calls == 5
    assert timings.wall == timings.cpu == [5 * MS] * 20


@pytest.mark.parametrize(
    ("setup", "blocks_expected", "calls_expected"), [(S, 14, 1), (MS, 20, 749)], ids=["setup of 1 s", "setup of 1 ms"]
)
def test_a_setup_much_slower_than_the_call_does_not_run_for_minutes(
    time: Time, setup: int, blocks_expected: int, calls_expected: int
) -> None:
    start = time.wall
    timings = run(time.work(US), lambda: time.passes(setup))
    assert (len(timings.wall), timings.calls) == (blocks_expected, calls_expected)
    assert set(timings.latencies) == {US}
    assert time.wall - start <= 16 * S


def test_cpu_time_counts_all_threads_and_no_sleep(time: Time) -> None:
    def two_threads() -> None:
        time.passes(MS, 2 * MS)

    def asleep() -> None:
        time.passes(MS, 0)

    busy, idle = run(two_threads, least=0.1), run(asleep, least=0.1)
    assert busy.cpu == [2 * wall for wall in busy.wall]
    assert set(idle.cpu) == {0}


@pytest.mark.parametrize("form", ["bare", "stamped", "with setup"])
def test_what_passes_between_the_blocks_is_not_timed(time: Time, form: str) -> None:
    work = time.work(US if form == "bare" else MS)
    setup = (lambda: None) if form == "with setup" else None
    timings = run(work, setup, least=0.1, progress=lambda *_: time.passes(300 * MS))
    assert set(timings.wall) == {5 * MS}
    assert timings.cpu == timings.wall


@pytest.mark.parametrize("call", [1, 3, 100, 1100])
def test_an_error_of_the_function_stops_the_blocks_as_it_is(time: Time, call: int) -> None:
    error = KeyError("the test's own")
    count = itertools.count(1)

    def fails() -> None:
        time.passes(MS)
        if next(count) == call:
            raise error

    with pytest.raises(KeyError) as caught:
        run(fails, wanted=5000)
    assert caught.value is error


def test_progress_plans_what_is_really_ahead(time: Time) -> None:
    told: list[tuple[float, float]] = []
    work = time.work(MS)
    run(work, lambda: time.passes(MS), least=0.5, progress=lambda *times: told.append(times))
    assert [spent for spent, _ in told] == sorted({spent for spent, _ in told})
    spent, _ = told[-1]
    assert {round(planned, 6) for _, planned in told} == {round(spent, 6)}


def test_progress_never_plans_beyond_the_longest_time(time: Time) -> None:
    told: list[tuple[float, float]] = []
    run(time.work(US), lambda: time.passes(40 * MS), most=4, progress=lambda *times: told.append(times))
    assert all(spent <= planned <= max(4, spent) for spent, planned in told)
    assert told[0][1] == 4


def test_more_work_in_a_call_gives_fewer_calls_in_a_block() -> None:
    def work(size: int) -> Callable[[], object]:
        return lambda: sum(range(size))

    small, large = (run(work(size), least=0.02, most=0.1) for size in (100, 100_000))
    assert small.calls > large.calls
    assert sum(large.wall) / large.calls / len(large.wall) > sum(small.wall) / small.calls / len(small.wall)


def test_the_real_clock_is_inspected_as_something_sane() -> None:
    from pytest_supervm.measure import clock

    found = clock.inspect()
    assert found is clock.inspect(), "every case must see the same clock"
    assert 0 < found.step < S
    assert 1 <= found.cost < S
    assert 1 <= found.cpu_cost < S
    assert found.grain == max(found.step, found.cost)
    assert CPU_READING > READING  # what the other tests assume of the two clocks
