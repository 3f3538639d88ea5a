"""The clocks, and how fine they are on this machine.

Wall time is `time.perf_counter_ns`, CPU time is `time.process_time_ns` (all threads of the process, user and system).
Both are integers of nanoseconds; what matters is the smallest step they take and what reading them costs.
"""

from __future__ import annotations

import functools
import statistics
import time
from dataclasses import dataclass

wall = time.perf_counter_ns
cpu = time.process_time_ns

STAMP_SHARE = 100
"""A call is timed one by one as part of its block when it lasts at least this many clock readings, so that stamping
adds at most one percent."""

LATENCY_SHARE = 20
"""A call shorter than this many clock readings has no latency of its own to speak of: the clock would be measured."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Resolution and cost of the wall clock, in nanoseconds."""

    step: float
    cost: float

    def __str__(self) -> str:
        return f"perf_counter, steps of {self.step:.0f} ns, {self.cost:.0f} ns a reading"


@functools.cache
def inspect() -> Clock:
    """Measure the wall clock once per process: its smallest step and the median cost of a reading."""
    steps = []
    costs = []
    for _ in range(50):
        start = now = wall()
        while now == start:
            now = wall()
        steps.append(now - start)
        start = wall()
        for _ in range(100):
            wall()
        costs.append((wall() - start) / 101)
    return Clock(float(min(steps)), max(statistics.median(costs), 1.0))
