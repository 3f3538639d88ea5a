"""The clocks, and how fine they are on this machine.

Wall time is `time.perf_counter_ns`, CPU time is `time.process_time_ns` (all threads of the process, user and system).
Both are integers of nanoseconds; what matters is the smallest step they take and what reading them costs.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

wall = time.perf_counter_ns
cpu = time.process_time_ns

STAMP_SHARE = 100
"""A call is timed one by one as part of its block when it lasts at least this many clock readings, so that stamping
adds at most one percent."""

LATENCY_SHARE = 20
"""A call shorter than this many clock readings has no latency of its own to speak of: the clock would be measured. The
same holds for CPU time where it is read around every single call."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Resolution and cost of the clocks, in nanoseconds.

    Attributes
    ----------
    step
        Smallest step of the wall clock.
    cost
        What a reading of the wall clock takes.
    cpu_cost
        What a reading of the CPU clock takes: a call of the kernel, an order of magnitude more.
    """

    step: float
    cost: float
    cpu_cost: float

    @property
    def grain(self) -> float:
        """The unit that a time must be many of to be known well: a step or a reading, whichever is longer."""
        return max(self.step, self.cost)

    def __str__(self) -> str:
        return f"perf_counter, steps of {self.step:.0f} ns, {self.cost:.0f} ns a reading"


@functools.cache
def inspect() -> Clock:
    """Measure the clocks once per process: the smallest step, and the median cost of a reading."""
    steps = []
    for _ in range(50):
        start = now = wall()
        while now == start:
            now = wall()
        steps.append(now - start)
    return Clock(float(min(steps)), _cost(wall), _cost(cpu))


def _cost(clock: Callable[[], int]) -> float:
    """Return the median time of a reading in nanoseconds, at least one."""
    costs = []
    for _ in range(50):
        start = wall()
        for _ in range(100):
            clock()
        costs.append((wall() - start) / 100)
    return max(statistics.median(costs), 1.0)
