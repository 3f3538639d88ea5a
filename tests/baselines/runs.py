"""Runs to keep, made from a number: later numbers are later in time."""

from __future__ import annotations

from pytest_supervm.model import SCHEMA, Case, Commit, Location, Machine, Metric, Run, Series

MACHINE = Machine(cpu="Abacus 9", cores=2, memory=8, os="Linux", python="3.13.1", id="c0ffee")
LATENCY = Metric("latency_p50", "s", "lower")


def a_series(*launches: tuple[float, ...], metric: Metric = LATENCY, unmeasured: str | None = None) -> Series:
    """Return a series of latencies."""
    return Series(metric=metric, launches=launches, unmeasured=unmeasured)


def a_run(number: int, *series: Series, weight: int = 1) -> Run:
    """Return the run of that number, with one case; `weight` is the number of blocks, if no series is given."""
    case = Case(
        id="test_x.py::test_y[4]",
        location=Location("test_x.py", 7),
        parameters={"n": "4"},
        series=series or (a_series((0.001 * (number + 1),) * weight),),
    )
    return Run(
        schema=SCHEMA,
        id=f"20260131T12{number // 60:02}{number % 60:02}Z-{number:08x}",
        time=f"2026-01-31T12:{number // 60:02}:{number % 60:02}Z",
        machine=MACHINE,
        commit=Commit("0123456789abcdef", dirty=bool(number % 2), branch="main"),
        cases=(case,),
    )
