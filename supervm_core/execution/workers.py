"""Threads for kernels: a few functions that release the GIL, at work at once.

The pool belongs to one process: threads do not survive a fork, so a child that inherited a pool would wait for it
forever, and makes its own instead. The caller works too, on the first task, so that one task never costs a thread, and
whoever waits is blocked in the kernel and takes no time from a core that another worker needs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

Task = Callable[[], object]

_pools: dict[int, ThreadPoolExecutor] = {}
"""The pool of this process, by its id; the entry of a parent is of no use and dropped."""


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(tasks: Sequence[Task]) -> None:
    """Run all tasks side by side and come back when all have ended; the first error of the earliest task is raised."""
    if not tasks:
        return
    if len(tasks) == 1:
        tasks[0]()
        return
    futures = [_pool().submit(task) for task in tasks[1:]]
    try:
        tasks[0]()
    finally:
        wait(futures)
    for future in futures:
        future.result()


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
