"""Repeat a call in blocks: each block long enough for the clock, all blocks together long enough for the statistics.

A block is the unit that is kept. Its length is a twentieth of the time asked for, so that a launch gives about twenty
blocks. Short calls are repeated in a bare loop; calls that last at least a hundred clock readings are stamped one by
one inside their block, and their stamps serve as latencies too. With a set-up function every call is stamped, since the
set-up must stay outside; where it is much slower than the call, a block is a twentieth of the longest time allowed, and
short for it.
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pytest_supervm.measure import clock

BLOCKS = 20
"""Blocks that the time asked for is divided into."""

FEWEST_BLOCKS = 3
"""Fewest blocks of a launch, unless even these would take longer than the longest time allowed."""

SECOND = 1_000_000_000

Work = Callable[[], object]

Progress = Callable[[float, float], None]
"""Called between blocks with the seconds spent on the case and the seconds planned for it."""


@dataclass(slots=True)
class Timings:
    """What was timed. All times in nanoseconds, per block unless said otherwise.

    Attributes
    ----------
    calls
        Calls per block.
    stamped
        Whether each call was timed alone.
    wall, cpu
        Wall and CPU time of each block, without set-up.
    latencies
        Wall time of single calls; from the blocks where they were stamped, else from a pass of their own.
    """

    calls: int
    stamped: bool
    wall: list[int] = field(default_factory=list)
    cpu: list[int] = field(default_factory=list)
    latencies: array[int] = field(default_factory=lambda: array("q"))


def run(
    call: Work, setup: Work | None, *, least: float, most: float, latencies_wanted: Iterable[int], progress: Progress
) -> Timings:
    """Time `call` in blocks.

    Parameters
    ----------
    call
        What is timed.
    setup
        Called before every call, outside the timing.
    least
        Least seconds of timed work.
    most
        Most seconds, set-up included, for all of it; never less than `least`.
    latencies_wanted
        Samples of single calls that each wanted quantile needs; the most that fit into `most` are sought.
    progress
        Told between blocks.
    """
    start = clock.wall()
    grain = clock.inspect().grain
    most = max(most, least)
    block_length = max(least * SECOND / BLOCKS, clock.STAMP_SHARE * grain)
    longest = max(most * SECOND / BLOCKS, block_length)

    def elapsed() -> float:
        return (clock.wall() - start) / SECOND

    def planned() -> float:
        ahead = max(least * SECOND - timed, (FEWEST_BLOCKS - len(timings.wall)) * pace.calls * pace.call)
        return max(elapsed(), min(elapsed() + ahead * pace.whole / pace.call / SECOND, most))

    while True:
        pace = calibrate(call, setup, block_length, longest)
        timings = Timings(pace.calls, stamped=setup is not None or pace.call >= clock.STAMP_SHARE * grain)
        block = timed_block(call, setup, timings)
        block()
        timed = timings.wall[0]
        progress(elapsed(), planned())
        if timed >= min(pace.calls * pace.call, block_length) / 4 or elapsed() >= most:
            break  # else a hiccup was taken for the pace, and blocks of this length would be far too short

    while elapsed() < most and (timed < least * SECOND or len(timings.wall) < FEWEST_BLOCKS):
        block()
        timed += timings.wall[-1]
        progress(elapsed(), planned())

    if not timings.stamped:
        if pace.call < clock.LATENCY_SHARE * grain:
            return timings
        block = _latency_pass(call, timings)
        block()
    each = elapsed() / len(timings.latencies) if timings.stamped else pace.call / SECOND
    affordable = len(timings.latencies) + (most - elapsed()) / each
    goal = max((samples for samples in latencies_wanted if samples <= affordable), default=0)
    end = elapsed() + each * (goal - len(timings.latencies))
    while len(timings.latencies) < goal and elapsed() < most:
        block()
        progress(elapsed(), max(elapsed(), end))
    return timings


def rounds(prepare: Callable[[], tuple[Work, Work]], *, count: int, calls: int, progress: Progress) -> Timings:
    """Time an exact number of calls, for what does not bear more; neighbouring rounds make a block.

    Parameters
    ----------
    prepare
        Called before every round, outside the timing: returns the call, and what is to follow the round.
    count
        Rounds.
    calls
        Calls in a round, timed together.
    progress
        Told between rounds.

    Returns
    -------
    Timings
        At most 39 blocks of equally many rounds; left-over rounds are among the latencies only, which there are where a
        round is one call.
    """
    wall: list[int] = []
    cpu: list[int] = []
    play = timed_round(prepare, calls, wall, cpu)
    begun = clock.wall()
    for done in range(1, count + 1):
        play()
        spent = (clock.wall() - begun) / SECOND
        progress(spent, spent / done * count)
    together = max(1, count // BLOCKS)
    return grouped(wall, cpu, calls=calls, together=together, count=count // together)


def timed_round(prepare: Callable[[], tuple[Work, Work]], calls: int, wall: list[int], cpu: list[int]) -> Work:
    """Return a function that plays one round, times its calls together and keeps that; see `rounds`."""
    now, cpu_now = clock.wall, clock.cpu

    def play() -> None:
        call, follow = prepare()
        repeat = itertools.repeat(None, calls)
        cpu_start, start = cpu_now(), now()
        for _ in repeat:
            call()
        end, cpu_end = now(), cpu_now()
        wall.append(end - start)
        cpu.append(cpu_end - cpu_start)
        follow()

    return play


def grouped(wall: Sequence[int], cpu: Sequence[int], *, calls: int, together: int, count: int) -> Timings:
    """Make `count` blocks of the times of rounds, `together` neighbours each; what is left over is latencies only."""
    timings = Timings(together * calls, stamped=calls == 1)
    for first in range(0, together * count, together):
        timings.wall.append(sum(wall[first : first + together]))
        timings.cpu.append(sum(cpu[first : first + together]))
    if timings.stamped:
        timings.latencies.extend(wall)
    return timings


class Pace(NamedTuple):
    """Nanoseconds of one call, alone and with its set-up, and the number of calls that make a block."""

    call: float
    whole: float
    calls: int


def calibrate(call: Work, setup: Work | None, block_length: float, longest: float) -> Pace:
    """Find the pace by doubling the calls until they fill a quarter of a block; warms caches as it goes.

    Parameters
    ----------
    block_length
        Nanoseconds of timed work that a block should hold.
    longest
        Nanoseconds that a block may take, set-up included.
    """
    calls = 1
    while True:
        start = clock.wall()
        elapsed = _stamp(call, setup, calls) if setup else _loop(call, calls)
        whole = clock.wall() - start
        if elapsed >= min(block_length / 4, SECOND) or whole >= longest / 4:
            per_call, per_whole = max(elapsed, 1) / calls, max(whole, 1) / calls
            return Pace(per_call, per_whole, max(1, round(min(block_length / per_call, longest / per_whole))))
        calls *= 2


def timed_block(call: Work, setup: Work | None, timings: Timings) -> Work:
    """Return a function that times one block and keeps it."""
    calls, latencies, now, cpu_now = timings.calls, timings.latencies, clock.wall, clock.cpu

    def bare() -> None:
        repeat = itertools.repeat(None, calls)
        cpu_start, start = cpu_now(), now()
        for _ in repeat:
            call()
        timings.wall.append(now() - start)
        timings.cpu.append(cpu_now() - cpu_start)

    def stamped() -> None:
        first = len(latencies)
        cpu_start = cpu_now()
        for _ in range(calls):
            start = now()
            call()
            latencies.append(now() - start)
        timings.cpu.append(cpu_now() - cpu_start)
        timings.wall.append(sum(latencies[first:]))

    def with_setup() -> None:
        first = len(latencies)
        cpu_spent = 0
        for _ in range(calls):
            setup()  # type: ignore[misc]  # chosen below only when there is one
            cpu_start, start = cpu_now(), now()
            call()
            end, cpu_end = now(), cpu_now()
            latencies.append(end - start)
            cpu_spent += cpu_end - cpu_start
        timings.cpu.append(cpu_spent)
        timings.wall.append(sum(latencies[first:]))

    if setup is not None:
        return with_setup
    return stamped if timings.stamped else bare


def _latency_pass(call: Work, timings: Timings) -> Work:
    """Return a function that stamps a thousand short calls one by one, outside any block."""
    latencies, now = timings.latencies, clock.wall

    def stamps() -> None:
        for _ in range(1000):
            start = now()
            call()
            latencies.append(now() - start)

    return stamps


def _loop(call: Work, calls: int) -> int:
    start = clock.wall()
    for _ in range(calls):
        call()
    return clock.wall() - start


def _stamp(call: Work, setup: Work, calls: int) -> int:
    elapsed = 0
    for _ in range(calls):
        setup()
        start = clock.wall()
        call()
        elapsed += clock.wall() - start
    return elapsed
