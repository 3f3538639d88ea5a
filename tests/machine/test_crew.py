"""A crew does every task once, whoever comes to help, in every process, and never waits for ever."""

from __future__ import annotations

import itertools
import os
import threading
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervm_core.errors import SettingError, StalledError
from supervm_core.machine import crew as crews
from supervm_core.machine.crew import Crew, Watch, shares


@pytest.fixture
def two_helpers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A pool as on a machine with three cores."""
    monkeypatch.setattr(crews, "cores", lambda: 3)
    monkeypatch.setattr(crews, "_pools", {})
    yield
    for pool in crews._pools.values():
        pool.shutdown()


@given(st.integers(1, 5), st.integers(0, 20))
def test_every_task_is_done_once(threads: int, number: int) -> None:
    done: list[int] = []
    effort = Crew(threads).run([lambda place=place: done.append(place) for place in range(number)])
    assert sorted(done) == list(range(number))
    assert sum(effort.tasks) == number
    assert len(effort.cpu_ns) == len(effort.tasks) <= threads


@pytest.mark.usefixtures("two_helpers")
def test_a_helper_that_never_gets_a_core_holds_nobody_up() -> None:
    """Both threads of the pool are busy elsewhere: what they were asked for is not begun, so the caller does it all."""
    gate, busy = threading.Event(), threading.Barrier(3)

    def elsewhere() -> None:
        busy.wait()
        gate.wait()

    blocked = [crews._pool().submit(elsewhere) for _ in range(2)]
    busy.wait()
    done: list[int] = []
    effort = Crew(3).run([lambda place=place: done.append(place) for place in range(10)])
    assert effort.tasks == (10, 0, 0)
    assert done == list(range(10))
    gate.set()
    assert [future.result() for future in blocked] == [None, None]


def test_helpers_work_beside_the_caller() -> None:
    """Two tasks that wait for each other end only if two threads do them at once."""
    meet = threading.Barrier(2)
    assert Crew(2).run([meet.wait, meet.wait]).tasks == (1, 1)


@pytest.mark.usefixtures("two_helpers")
def test_all_crews_of_a_process_share_its_threads() -> None:
    before = threading.active_count()
    meet = threading.Barrier(3)
    for _ in range(20):
        Crew(3).run([meet.wait] * 3)
    assert threading.active_count() == before + 2


def test_cpu_time_is_told_by_member() -> None:
    """The caller computes, its helper waits."""
    caller, begun, over = threading.current_thread(), threading.Event(), threading.Event()

    def task() -> None:
        if threading.current_thread() is not caller:
            begun.set()
            over.wait()
            return
        begun.wait()
        sum(range(1_000_000))
        over.set()

    caller_ns, helper_ns = Crew(2).run([task, task]).cpu_ns
    assert caller_ns > helper_ns > 0


def test_one_task_costs_no_thread() -> None:
    before = threading.active_count()
    assert Crew(4).run([lambda: None]).tasks == (1,)
    assert threading.active_count() == before


@pytest.mark.parametrize("threads", [1, 3])
def test_a_task_that_fails_stops_no_other_and_the_first_in_the_list_is_raised(threads: int) -> None:
    """Whoever came back earlier would go on while a kernel still writes into the arrays."""
    done: list[int] = []

    def fail(number: int) -> None:
        raise ArithmeticError(number)

    with pytest.raises(ArithmeticError, match=r"^1$"):
        Crew(threads).run([lambda: done.append(0), lambda: fail(1), lambda: fail(2), lambda: done.append(3)])
    assert sorted(done) == [0, 3]


def test_a_child_that_was_forked_has_threads_of_its_own() -> None:
    """An inherited pool has no threads: whoever waits for it waits for ever."""
    crew, meet = Crew(2), threading.Barrier(2)
    crew.run([meet.wait, meet.wait])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads is what this is about
        child = os.fork()
    if not child:
        again = threading.Barrier(2)
        effort = crew.run([lambda: again.wait(60), lambda: again.wait(60)])
        os._exit(17 if effort.tasks == (1, 1) else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 17


def beside(helper: Callable[[], object]) -> list[Callable[[], object]]:
    """Two tasks: the caller's share waits until a helper has begun its own, whoever takes which."""
    caller, begun = threading.current_thread(), threading.Event()

    def task() -> None:
        if threading.current_thread() is caller:
            begun.wait()
        else:
            begun.set()
            helper()

    return [task, task]


def test_a_crew_that_stalls_says_so_and_can_work_again() -> None:
    crew, gate = Crew(2, patience=0.01), threading.Event()
    with pytest.raises(StalledError, match=r"1 of 2 tasks have not ended and nothing has moved for 0\.01 s\. Go back"):
        crew.run(beside(gate.wait))
    meet = threading.Barrier(2)
    assert crew.run([meet.wait, meet.wait]).tasks == (1, 1)
    gate.set()


@pytest.mark.parametrize("gets_on", [True, False])
def test_a_task_that_gets_on_slowly_is_not_given_up(gets_on: bool) -> None:
    """Each look at the clock is a second later: only a number that moves keeps the crew patient."""
    progress, enough, looks = np.zeros(1, np.uint64), threading.Event(), itertools.count()

    def clock() -> float:
        if gets_on:
            progress[0] += np.uint64(1)
        look = next(looks)
        if look == 5:
            enough.set()
        return look

    crew = Crew(2, patience=1.5, clock=clock)
    if gets_on:
        assert crew.run(beside(enough.wait), progress).tasks == (1, 1)
    else:
        with pytest.raises(StalledError):
            crew.run(beside(enough.wait), progress)
    enough.set()


def test_silence_is_counted_from_the_last_move() -> None:
    now = [0.0]
    watch = Watch(lambda: now[0])
    assert watch.silent_for("a") == 0
    now[0] = 5
    assert watch.silent_for("a") == 5
    now[0] = 6
    assert watch.silent_for("b") == 0
    now[0] = 8
    assert watch.silent_for("b") == 2


def test_a_crew_without_anybody_is_refused() -> None:
    with pytest.raises(SettingError, match="a crew of 0 threads; at least 1 is wanted"):
        Crew(0)


@given(st.integers(0, 10**9), st.integers(1, 64), st.integers(0, 10**6))
def test_shares_cover_the_range_once_and_evenly(total: int, parts: int, least: int) -> None:
    ranges = shares(total, parts, least=least)
    assert [start for start, _ in ranges] == [0, *[end for _, end in ranges[:-1]]]
    assert ranges[-1][1] == total
    sizes = [end - start for start, end in ranges]
    assert len(ranges) <= parts
    assert max(sizes) - min(sizes) <= 1
    assert len(ranges) == 1 or min(sizes) >= least
