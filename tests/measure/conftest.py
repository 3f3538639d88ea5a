"""A clock that moves only when it is told to, so that tests can state exact figures."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_supervm.measure import clock, observers

US = 1_000
MS = 1_000_000
S = 1_000_000_000

READING = 50
"""What a reading of the wall clock is said to take, in nanoseconds: `clock.STAMP_SHARE` of them are 5 us."""

CPU_READING = 1_000


class Time:
    """Nanoseconds of wall and CPU time that have passed. Reading them takes none."""

    def __init__(self) -> None:
        self.wall = 7 * S
        self.cpu = 3 * S

    def passes(self, wall: int, cpu: int | None = None) -> None:
        """Let time pass; without `cpu`, one thread works all the while."""
        self.wall += wall
        self.cpu += wall if cpu is None else cpu

    def work(self, *turns: int) -> Callable[[], None]:
        """Return a function whose calls take these nanoseconds in turns; it counts its ``calls``."""

        def call() -> None:
            self.passes(turns[call.calls % len(turns)])
            call.calls += 1

        call.calls = 0
        return call


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    """Time that stands still but for what the test lets pass."""
    now = Time()
    monkeypatch.setattr(clock, "wall", lambda: now.wall)
    monkeypatch.setattr(clock, "cpu", lambda: now.cpu)
    monkeypatch.setattr(clock, "inspect", lambda: clock.Clock(float(READING), float(READING), float(CPU_READING)))
    return now


@pytest.fixture
def unobserved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing watches, even if these tests themselves are run under coverage or a debugger."""
    monkeypatch.setattr(observers, "active", lambda: None)
