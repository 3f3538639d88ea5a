"""A crew: the calling thread and helpers that work through a list of tasks, made for a machine that others use too.

Tasks are taken, not given: whoever is free takes the next one. The caller takes part, so a batch gets done even if no
helper ever gets a core, and nobody waits for a task that no thread has begun. When none is left, the caller waits for
those that are still at work, blocked in the kernel: it never spins on a core that one of them needs.

Waiting is watched. As long as tasks end, or the numbers in `progress` move, all is well. If nothing at all has moved
for `patience` seconds, the crew gives up with an error, instead of hanging for ever: a batch that was cut off so leaves
the state half changed, and its owner goes back to a copy and on sequentially.

Threads do not survive a fork. A crew makes its threads in the process that uses it, when it first uses them.
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


class Effort(NamedTuple):
    """Who did how many tasks."""

    caller: int
    helpers: int


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
    helpers : int, optional
        Threads beside the caller; by default one fewer than the cores that this process may use.
    patience : float
        Seconds without any progress before `run` gives up.
    clock : callable
        Seconds that never go back.
    """

    def __init__(
        self,
        helpers: int | None = None,
        *,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if helpers is not None and helpers < 0:
            raise SettingError(f"a crew of {helpers} helpers; 0 or more are wanted")
        self.helpers = len(os.sched_getaffinity(0)) - 1 if helpers is None else helpers
        self.patience = patience
        self._clock = clock
        self._pool: ThreadPoolExecutor | None = None
        self._process = 0

    def run(self, tasks: Sequence[Task], progress: U64 | None = None) -> Effort:
        """Do all tasks, in any order and side by side.

        Parameters
        ----------
        tasks : sequence of callable
            Each is called once. One that fails does not stop the others.
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
        done = [0] * (1 + min(self.helpers, max(len(tasks) - 1, 0)))

        def work(member: int) -> None:
            while True:
                try:
                    number = left.popleft()
                except IndexError:
                    return
                try:
                    tasks[number]()
                except BaseException as error:
                    errors[number] = error
                done[member] += 1

        helpers = [self._threads().submit(work, member) for member in range(1, len(done))]
        work(0)
        # Who has not begun has taken nothing.
        self._await([helper for helper in helpers if not helper.cancel()], done, progress, len(tasks))
        if errors:
            raise errors[min(errors)]
        return Effort(done[0], sum(done[1:]))

    def _await(self, helpers: list[Future[None]], done: list[int], progress: U64 | None, tasks: int) -> None:
        watch = Watch(self._clock)
        while wait(helpers, timeout=LOOKS_EVERY).not_done:
            moved = (tuple(done), b"" if progress is None else progress.tobytes())
            if watch.silent_for(moved) > self.patience:
                self._pool = None
                raise StalledError(
                    f"{tasks - sum(done)} of {tasks} tasks have not ended and nothing has moved for "
                    f"{self.patience:g} s. Go back to the state before the batch, and go on with one worker"
                )

    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None or self._process != os.getpid():
            self._pool = ThreadPoolExecutor(self.helpers, thread_name_prefix="supervm-crew")
            self._process = os.getpid()
        return self._pool
