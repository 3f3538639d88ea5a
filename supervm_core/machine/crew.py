"""A crew: the calling thread and helpers that work through a list of tasks, made for a machine that others use too.

Tasks are functions that release the GIL, compiled kernels. They are taken, not given: whoever is free takes the next
one. The caller takes part, so a batch gets done even if no helper ever gets a core, and nobody waits for a task that no
thread has begun. When none is left, the caller waits for those that are still at work, blocked in the kernel: it never
spins on a core that one of them needs.

Waiting is watched. As long as tasks end, or the numbers in `progress` move, all is well. If nothing at all has moved
for `patience` seconds, the crew gives up with an error, instead of hanging for ever: a batch that was cut off so leaves
the state half changed, and its owner goes back to a copy and on sequentially.

Helpers come from one pool for the whole process, so that many crews do not make many threads. Threads do not survive a
fork: a child that inherited a pool would wait for it for ever, and makes its own when it first needs one.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import NamedTuple

from supervm_core.columns import U64
from supervm_core.errors import SettingError, StalledError

Task = Callable[[], object]

LOOKS_EVERY = 0.05
"""Seconds between two looks at whether anything moves, while waiting."""

PATIENCE = 60.0
"""Seconds without any progress before a crew gives up: longer than a machine that swaps takes for one task."""

_pools: dict[int, ThreadPoolExecutor] = {}
"""The pool of this process, by its id; the entry of a parent is of no use and dropped."""


class Effort(NamedTuple):
    """Who did how much; by member, the caller first."""

    tasks: tuple[int, ...]
    cpu_ns: tuple[int, ...]
    """CPU time in nanoseconds."""


class Watch:
    """How long nothing has moved.

    Parameters
    ----------
    clock : callable
        Seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: object = None
        self._moved = clock()

    def silent_for(self, state: object) -> float:
        """Return for how many seconds the state has been what it is now."""
        now = self._clock()
        if state != self._last:
            self._last, self._moved = state, now
        return now - self._moved


class Crew:
    """Threads that work through tasks together with the caller.

    Parameters
    ----------
    threads : int, optional
        Threads at most, the caller's among them; as many as the cores that this process may use when left out.
    patience : float
        Seconds without any progress before `run` gives up.
    clock : callable
        Seconds that never go back.
    """

    def __init__(
        self,
        threads: int | None = None,
        *,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if threads is not None and threads < 1:
            raise SettingError(f"a crew of {threads} threads; at least 1 is wanted, the caller's")
        self.threads = cores() if threads is None else threads
        self.patience = patience
        self._clock = clock

    def run(self, tasks: Sequence[Task], progress: U64 | None = None) -> Effort:
        """Do all tasks, in any order and side by side.

        Parameters
        ----------
        tasks : sequence of callable
            Each is called once. One that fails does not stop the others: they may be writing into the same arrays.
        progress : ndarray of uint64, optional
            Numbers that long tasks change while they get on.

        Raises
        ------
        StalledError
            If nothing moves any more. Tasks that were begun may still be at work: leave what they write to alone.
        Exception
            Whatever the first failing task of the list raised, after all have ended.
        """
        left = deque(range(len(tasks)))
        errors: dict[int, BaseException] = {}
        members = max(1, min(self.threads, len(tasks)))
        done, cpu = [0] * members, [0] * members

        def work(member: int) -> None:
            began = time.thread_time_ns()
            while left:
                try:
                    number = left.popleft()
                except IndexError:  # somebody else was quicker
                    break
                try:
                    tasks[number]()
                except BaseException as error:
                    errors[number] = error
                done[member] += 1
            cpu[member] = time.thread_time_ns() - began

        helpers = [_pool().submit(work, member) for member in range(1, members)]
        work(0)
        # Who has not begun has taken nothing.
        self._await([helper for helper in helpers if not helper.cancel()], done, progress, len(tasks))
        if errors:
            raise errors[min(errors)]
        return Effort(tuple(done), tuple(cpu))

    def _await(self, helpers: list[Future[None]], done: list[int], progress: U64 | None, tasks: int) -> None:
        watch = Watch(self._clock)
        while helpers and wait(helpers, timeout=LOOKS_EVERY).not_done:
            moved = (tuple(done), b"" if progress is None else progress.tobytes())
            if watch.silent_for(moved) > self.patience:
                _pools.clear()
                raise StalledError(
                    f"{tasks - sum(done)} of {tasks} tasks have not ended and nothing has moved for "
                    f"{self.patience:g} s. Go back to the state before the batch, and go on with one worker"
                )


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def shares(total: int, parts: int, *, least: int) -> list[tuple[int, int]]:
    """Cut 0..total into at most `parts` equal ranges of at least `least`, one where there is less.

    Returns
    -------
    list of (start, end)
        In order, together the whole range; none is empty unless all is.
    """
    number = max(1, min(parts, total // max(least, 1)))
    return [(total * part // number, total * (part + 1) // number) for part in range(number)]


def _pool() -> ThreadPoolExecutor:
    process = os.getpid()
    if process not in _pools:
        _pools.clear()
        _pools[process] = ThreadPoolExecutor(max(1, cores() - 1), thread_name_prefix="supervm-crew")
    return _pools[process]
