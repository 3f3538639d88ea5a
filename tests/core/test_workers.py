"""Workers do everything they are given, in any process, and say what went wrong."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervm_core.execution import workers

from .test_engine import python


@given(st.integers(0, 10**9), st.integers(1, 64), st.integers(0, 10**6))
def test_shares_cover_the_range_once_and_evenly(total: int, parts: int, least: int) -> None:
    shares = workers.shares(total, parts, least=least)
    assert [start for start, _ in shares] == [0, *[end for _, end in shares[:-1]]]
    assert shares[-1][1] == total
    sizes = [end - start for start, end in shares]
    assert len(shares) <= parts
    assert max(sizes) - min(sizes) <= 1
    assert len(shares) == 1 or min(sizes) >= least


def test_caller_does_the_first_task_and_waits_for_the_rest() -> None:
    done: list[int] = []
    callers = []

    def first() -> None:
        callers.append(threading.current_thread())

    workers.run([first, *[lambda place=place: done.append(place) for place in range(20)]])
    assert callers == [threading.current_thread()]
    assert sorted(done) == list(range(20))
    workers.run([])


@pytest.mark.parametrize("guilty", [0, 2])
def test_error_is_raised_when_all_have_ended(guilty: int) -> None:
    """Whoever came back earlier would go on while a kernel still writes into the arrays."""
    ended: list[int] = []

    def task(place: int) -> None:
        ended.append(place)
        if place == guilty:
            raise RuntimeError(f"task {place}")

    with pytest.raises(RuntimeError, match=f"task {guilty}"):
        workers.run([lambda place=place: task(place) for place in range(4)])
    assert sorted(ended) == list(range(4))


def test_child_of_a_fork_has_workers_of_its_own() -> None:
    """A pool that came through the fork has no threads: waiting for it would never end."""
    assert (
        python(
            "import os, warnings\n"
            "warnings.simplefilter('ignore')\n"
            "from supervm_core.execution import workers\n"
            "tasks = [lambda: None] * 4\n"
            "workers.run(tasks)\n"
            "child = os.fork()\n"
            "if not child:\n"
            "    workers.run(tasks)\n"
            "    os._exit(7)\n"
            "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
        )
        == "7"
    )
