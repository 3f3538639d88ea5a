"""Threads for kernels: a few functions that release the GIL, at work at once.

The pool belongs to one process: threads do not survive a fork, so a child that inherited a pool would wait for it
forever, and makes its own instead. The caller works too, so that one task never costs a thread, and whoever waits is
blocked in the operating system and takes no time from a core that another worker needs.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress

Task = Callable[[], object]

_pools: dict[int, ThreadPoolExecutor] = {}
"""The pool of this process, by its id; the entry of a parent is of no use and dropped."""


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(tasks: Sequence[Task], threads: int | None = None) -> None:
    """Run all tasks and come back when all have ended.

    Whoever is free takes the next one, so tasks of different length even out. An error does not keep the others from
    running: they may be writing into the same arrays. The error of the earliest task is raised in the end.

    Parameters
    ----------
    tasks : sequence of callables
        The caller begins with the first.
    threads : int, optional
        Threads at most, the caller's among them; one for each task when left out.
    """
    waiting = deque(enumerate(tasks))
    errors: list[tuple[int, BaseException]] = []

    def attempt(place: int, task: Task) -> None:
        try:
            task()
        except BaseException as error:  # raised in the caller's thread below
            errors.append((place, error))

    def work() -> None:
        with suppress(IndexError):  # nothing is left, or somebody else was quicker
            while True:
                attempt(*waiting.popleft())

    helpers = min(len(tasks), len(tasks) if threads is None else threads) - 1
    first = waiting.popleft() if waiting else None
    futures = [_pool().submit(work) for _ in range(helpers)]
    if first is not None:
        attempt(*first)
    work()
    wait(futures)
    if errors:
        raise min(errors, key=lambda each: each[0])[1]


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
        _pools[process] = ThreadPoolExecutor(max(1, cores() - 1), thread_name_prefix="supervm")
    return _pools[process]
