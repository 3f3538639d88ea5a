"""Runs and kept runs by situation. Kept runs differ by about one percent, so that ten of them decide."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from pytest_supervm.judge.coverage import Selection
from pytest_supervm.judge.policy import DEFAULTS, Policy, merge, read
from pytest_supervm.judge.stored import judge
from pytest_supervm.model import (
    SCHEMA,
    STANDARD_METRICS,
    Case,
    Damage,
    Family,
    History,
    Location,
    Machine,
    Metric,
    Row,
    Run,
    Series,
)

HERE = Machine(cpu="Abacus 9", cores=2, memory=8, os="Linux", python="3.13.1", id="here")
ELSEWHERE = Machine(cpu="Abacus 10", cores=64, memory=256, os="Linux", python="3.13.1", id="there")
THROUGHPUT = Metric("throughput", "tx/s", "higher")
LATENCY = STANDARD_METRICS["latency_p99"]
FAILURES = STANDARD_METRICS["failure_rate"]
HITS = STANDARD_METRICS["cache_hit_rate"]
WOBBLE = (0.0, 0.01, -0.01, 0.005, -0.005, 0.012, -0.008, 0.003, -0.012, 0.007)


def a_case(test: str, *series: Series, file: str = "test_x.py", features: tuple[str, ...] = ()) -> Case:
    suffix = f" {{{','.join(features)}}}" if features else ""
    return Case(id=f"{file}::{test}{suffix}", location=Location(file, 7), series=series, features=features)


def a_figure(value: float, metric: Metric = THROUGHPUT) -> Series:
    return Series(metric=metric, launches=((value,),))


def unmeasured(metric: Metric = THROUGHPUT, why: str = "the clock is too coarse") -> Series:
    return Series(metric=metric, unmeasured=why)


def a_run(*cases: Case, number: int = 99, machine: Machine = HERE, scope=(".",), deselected=()) -> Run:
    return Run(
        schema=SCHEMA,
        id=f"20260131T12{number:04}Z-0",
        time=f"2026-01-31T12:00:{number:02}Z",
        machine=machine,
        cases=cases,
        scope=scope,
        deselected=deselected,
    )


def kept(*cases: Case, runs: int = 10, machine: Machine = HERE, damaged: int = 0, first: int = 0) -> History:
    """Keep so many runs of the cases, each case wobbling in its own rhythm."""
    return History(
        "main",
        tuple(
            a_run(*(_wobbling(case, number + 3 * at) for at, case in enumerate(cases)), number=number, machine=machine)
            for number in range(first, first + runs)
        ),
        tuple(Damage("baselines/main.jsonl", line + 1, "it is cut short") for line in range(damaged)),
    )


def _wobbling(case: Case, number: int) -> Case:
    factor = math.exp(WOBBLE[number % len(WOBBLE)])
    series = tuple(
        Series(
            metric=one.metric,
            launches=tuple(tuple(value * factor for value in blocks) for blocks in one.launches),
            unmeasured=one.unmeasured,
        )
        for one in case.series
    )
    return Case(id=case.id, location=case.location, series=series, features=case.features)


def policies(
    table: Mapping[str, object] | None = None, marker: Mapping[str, object] | None = None
) -> dict[str, Policy]:
    """Read policies as the laboratory does: the defaults, the project's, the test's."""
    return read(merge(DEFAULTS, table or {}, marker or {}), STANDARD_METRICS)


def passed(*cases: Case) -> Selection:
    return Selection(outcomes={case.nodeid: "passed" for case in cases})


def judged(
    run: Run,
    history: History | None,
    table: Mapping[str, object] | None = None,
    selection: Selection | None = None,
) -> tuple[tuple[Row, ...], Family]:
    """Judge at the default level, with one policy table for all cases."""
    read_policies = policies(table)
    return judge(
        run,
        history,
        {case.id: read_policies for case in run.cases},
        selection or passed(*run.cases),
        0.01,
    )


def by_case(rows: Iterable[Row]) -> dict[tuple[str, str | None], Row]:
    return {(row.id.rpartition("::")[2], row.metric): row for row in rows}


def only(judgement: tuple[tuple[Row, ...], Family]) -> Row:
    (row,) = judgement[0]
    return row
