"""The words that every room shares, and the schema of what is written to disk.

A *case* is one measured thing. It holds one *series* per *metric*: the values of each *block* of each *launch*
(process start). A *run* is all cases of one pytest invocation together with what may explain the figures: the commit,
the machine, the settings. Judging a run against a baseline gives *rows*, one per case and metric, and from the rows
the *gate*. `Results` is the file that ``--supervm-json`` writes; a line of ``baselines/NAME.jsonl`` is one `Run`.

All values are in base units: seconds, bytes, operations per second, plain ratios. An effect is a natural logarithm of
a ratio, turned so that positive is worse whichever direction is better for the metric.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Literal

import msgspec

SCHEMA = 1
"""Version of the files described here. A reader refuses a newer one and keeps its line as it is."""

Better = Literal["lower", "higher"]


class Metric(msgspec.Struct, frozen=True):
    """What a number means: its name, its unit, and which direction is better."""

    name: str
    unit: str
    better: Better


class Series(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The values of one metric of one case.

    Attributes
    ----------
    metric
        Name, unit and direction.
    launches
        One tuple of block values per launch, in the metric's unit; empty when `unmeasured`.
    samples
        How many single observations the values rest on (calls timed one by one, for a quantile).
    unmeasured
        Why there is no value, as a sentence that says what to do.
    """

    metric: Metric
    launches: tuple[tuple[float, ...], ...] = ()
    samples: int | None = None
    unmeasured: str | None = None

    @property
    def value(self) -> float | None:
        """Median over launches of the median over blocks, or None when unmeasured."""
        if not self.launches:
            return None
        return statistics.median(statistics.median(blocks) for blocks in self.launches)


class Location(msgspec.Struct, frozen=True):
    """Where a case is written: path relative to pytest's root directory, and line, counted from 1."""

    file: str
    line: int


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One measured thing, with all its series.

    Attributes
    ----------
    id
        Node id, followed by the features that the test or the matrix set, if any: ``test_x.py::test_y[4] {a,b}``.
    location
        File and line of the test.
    parameters
        The test's parameters as text, by name.
    features
        Features that belong to the case's identity.
    series
        One per metric, by order of measurement.
    conditions
        How it was measured, in words for people: calls per block, state of the garbage collector, clock.
    """

    id: str
    location: Location
    parameters: dict[str, str] = {}
    features: tuple[str, ...] = ()
    series: tuple[Series, ...] = ()
    conditions: dict[str, str] = {}

    @property
    def nodeid(self) -> str:
        """The node id of the test: `id` without the features."""
        return self.id.removesuffix(features_suffix(self.features))

    @property
    def file(self) -> str:
        """The file that pytest finds the test in; `location` may be another, where an inherited test is written."""
        return self.nodeid.partition("::")[0]

    def get(self, metric: str) -> Series | None:
        """Return the series of the metric of that name, or None."""
        return next((series for series in self.series if series.metric.name == metric), None)

    @property
    def measured(self) -> bool:
        """Whether at least one metric has a value."""
        return any(series.launches for series in self.series)


class Commit(msgspec.Struct, frozen=True):
    """The commit that was checked out, and whether tracked files differed from it."""

    id: str
    dirty: bool
    branch: str | None = None


class Machine(msgspec.Struct, frozen=True):
    """What decides whether two runs are from the same machine: all fields equal.

    `id` is a one-way hash of the operating system's machine id. `memory` is in GiB, rounded, because the kernel's own
    share changes with its version.
    """

    cpu: str
    cores: int
    memory: int
    os: str
    python: str
    id: str

    def differences(self, other: Machine) -> tuple[str, ...]:
        """Return the fields in which `other` differs, each as ``name: here -> there``."""
        return tuple(
            f"{name}: {getattr(self, name)} -> {getattr(other, name)}"
            for name in self.__struct_fields__
            if getattr(self, name) != getattr(other, name)
        )


class Family(msgspec.Struct, frozen=True):
    """The pairs of case and metric that were judged together, and the error level that they share."""

    size: int
    level: float


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What a self-check showed about one case and metric.

    Attributes
    ----------
    id, metric
        The pair.
    gates
        Gates of unchanged code in which it was judged.
    alarms, improved, inconclusive
        How many of them ended regressed or slower, improved, and without a verdict.
    alarm_rate
        Exact interval, of coverage 95 %, of the rate of alarms.
    launches
        Launch pairs in all gates.
    spread
        Standard deviation of their effects; None where they are fewer than two.
    smallest
        The smallest slowdown, as an effect, that a gate tells with probability 95 % within the budget; None where even
        twice the work may be missed.
    extra
        The extra work that the candidate's side really did in one more gate, as an effect.
    caught
        Whether that gate called it regressed or slower.
    remark
        Why there is no `caught`, if there is none.
    """

    id: str
    metric: str
    gates: int
    alarms: int
    alarm_rate: tuple[float, float]
    improved: int
    inconclusive: int
    launches: int
    spread: float | None = None
    smallest: float | None = None
    extra: float | None = None
    caught: bool | None = None
    remark: str | None = None


class SelfCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What gates of the suite against itself showed.

    Attributes
    ----------
    gates
        How many were played, without the one with extra work.
    alarms, improved
        Gates in which something ended regressed or slower, and improved.
    alarm_rate
        Exact interval, of coverage 95 %, of the rate of gates with an alarm.
    seconds
        That all gates took.
    budget
        Seconds that each gate was given.
    launches
        Launch pairs that the budget allows, at the pace of these gates.
    family
        Size and level.
    cases
        One per case and metric that was judged.
    notes
        Sentences that a reader must know.
    """

    gates: int
    alarms: int
    improved: int
    alarm_rate: tuple[float, float]
    seconds: float
    budget: float
    launches: int
    family: Family
    cases: tuple[Checked, ...]
    notes: tuple[str, ...] = ()


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """The measurements of one pytest invocation.

    Attributes
    ----------
    schema
        Version of this record, `SCHEMA`.
    id
        Unique, sorts by time: ``20260131T120000Z-1a2b3c4d``.
    time
        Start, ISO 8601 in UTC.
    commit
        None outside a git checkout.
    machine
        Decides comparability.
    packages
        Installed distributions and their versions; shown, not compared.
    calibration
        Seconds that a fixed piece of work took on this machine after the tests; shown, not compared and never used to
        scale anything.
    settings
        The settings that shaped the measuring, as text.
    features
        Active features that are not part of any case's identity.
    scope
        Files and folders that were searched for tests in this run, relative to the root directory (``.`` is all of
        it). A case whose file lies in the scope and that is neither in `cases` nor `deselected` did not exist any more.
    deselected
        Node ids of measuring tests that were found and left out.
    cases
        What was measured.
    self_check
        What gates of unchanged code showed, if they were asked for: what "no regression" is worth here.
    """

    schema: int
    id: str
    time: str
    machine: Machine
    cases: tuple[Case, ...]
    commit: Commit | None = None
    packages: dict[str, str] = {}
    calibration: float | None = None
    settings: dict[str, str] = {}
    features: tuple[str, ...] = ()
    scope: tuple[str, ...] = ()
    deselected: tuple[str, ...] = ()
    self_check: SelfCheck | None = None

    def get(self, case_id: str) -> Case | None:
        """Return the case of that id, or None."""
        return next((case for case in self.cases if case.id == case_id), None)

    def retires(self, case: Case) -> bool:
        """Tell whether this run looked where `case` was and did not find its test."""
        return in_scope(case.file, self.scope) and case.nodeid not in self.deselected


class Damage(msgspec.Struct, frozen=True):
    """A line of a baseline file that cannot be read: where it stands, and why."""

    path: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.reason}; the line was skipped and is kept as it is"


class History(msgspec.Struct, frozen=True):
    """The runs kept under one name, oldest first, and the lines that could not be read."""

    name: str
    runs: tuple[Run, ...]
    damaged: tuple[Damage, ...] = ()

    def living_cases(self) -> dict[str, Case]:
        """Return the newest record of every case that the newest runs still knew, by id.

        A case is retired by a later run that looked where it was (`Run.retires`) and does not hold it: saving a run
        accepts its removals, but not what its options left out.
        """
        living: dict[str, Case] = {}
        for run in self.runs:
            living = {case_id: case for case_id, case in living.items() if not run.retires(case)}
            living.update((case.id, case) for case in run.cases)
        return living


class Verdict(StrEnum):
    """What is known about one case and metric, or about a whole case."""

    REGRESSED = "regressed"
    SLOWER = "slower"
    EQUIVALENT = "equivalent"
    IMPROVED = "improved"
    INCONCLUSIVE = "inconclusive"
    MISSING = "missing"
    NEW = "new"
    NOT_SELECTED = "not selected"
    UNMEASURED = "unmeasured"
    ERRORED = "errored"


class Action(StrEnum):
    """What a row does to the gate when its policy is broken."""

    WARN = "warn"
    BLOCK = "block"


class Gate(StrEnum):
    """The whole suite's verdict, from best to worst."""

    PASS = "pass"
    INCONCLUSIVE = "inconclusive"
    WARN = "warn"
    BLOCK = "block"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict on one case and metric.

    Attributes
    ----------
    id, location
        The case. `location` is where it is written now, or was when its baseline was kept.
    metric, unit, better
        None where the verdict is on the case as a whole (missing, not selected, errored).
    verdict
        See `Verdict`.
    reason
        One sentence, never empty.
    effect
        Natural log of candidate over baseline, positive = worse; None where there is no ratio.
    interval
        Low and high end of the effect's interval: the one that decided.
    confidence
        Two-sided coverage of `interval`, after the family's correction.
    baseline, candidate
        The figures on both sides, in `unit`.
    launches
        Independent samples that the verdict rests on: kept runs of this machine plus this run, or launch pairs.
    threshold
        Relative threshold as an effect; None where the policy has none, and then the row is outside the family.
    limit
        Absolute limit in `unit`, if the policy has one.
    action
        What this row does to the gate; None when it does nothing.
    """

    id: str
    location: Location
    verdict: Verdict
    reason: str
    metric: str | None = None
    unit: str | None = None
    better: Better | None = None
    effect: float | None = None
    interval: tuple[float, float] | None = None
    confidence: float | None = None
    baseline: float | None = None
    candidate: float | None = None
    launches: int = 0
    threshold: float | None = None
    limit: float | None = None
    action: Action | None = None


class Against(msgspec.Struct, frozen=True, kw_only=True):
    """The baseline that a run was judged against.

    Attributes
    ----------
    name
        As it was asked for: ``main``, or ``git:main``.
    runs, runs_of_this_machine
        How many were kept under that name; none where it was measured live.
    damaged
        Lines of its file that cannot be read.
    commit
        The commit that was measured live: the merge base, or what confirmed the kept runs; None without a duel.
    launches
        Launch pairs of the live comparison.
    """

    name: str
    runs: int = 0
    runs_of_this_machine: int = 0
    damaged: tuple[Damage, ...] = ()
    commit: str | None = None
    launches: int = 0


class Sighting(msgspec.Struct, frozen=True):
    """A run beside a change point: its id, its time and its commit."""

    run: str
    time: str
    commit: Commit | None = None


class ChangePoint(msgspec.Struct, frozen=True, kw_only=True):
    """A place in the history of one case and metric from which on the figures are others.

    Attributes
    ----------
    id, metric, unit, better
        What changed.
    index
        How many runs of its stretch of the history hold the figure and come before it.
    age
        How many runs of this machine there are since, `first` included.
    effect
        Natural log of the mean after over the mean before, up to the next change points; positive = worse.
    p_value
        How often shuffled runs show a step as clear as this one.
    before, after
        Geometric means of the runs on either side, in `unit`.
    runs
        How many runs those are.
    last, first
        The last run before the change, and the first one after.
    commits
        Git's name of the range that brought the change, ``1a2b3c4..5d6e7f8``; None where a commit is unknown.
    remark
        What a reader must know about that range, as a sentence, or nothing.
    """

    id: str
    metric: str
    unit: str
    better: Better
    index: int
    age: int
    effect: float
    p_value: float
    before: float
    after: float
    runs: tuple[int, int]
    last: Sighting
    first: Sighting
    commits: str | None = None
    remark: str = ""


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """The change points of a history, and what was looked at.

    Attributes
    ----------
    series
        Series that were long enough to be looked at. A case and metric has one per stretch of the history that was
        measured on this machine with equal settings.
    short, zero
        Series that were not: they hold fewer than `fewest` runs, or a value of zero or below, which has no ratio.
    fewest
        Runs that a series must hold.
    share
        Largest expected share of false ones among the series with change points.
    points
        By case and metric as in the run, oldest first.
    """

    series: int
    short: int
    zero: int
    fewest: int
    share: float
    points: tuple[ChangePoint, ...] = ()


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """What ``--supervm-json`` writes.

    Attributes
    ----------
    schema
        Version of this file, `SCHEMA`.
    gate, reason
        The verdict on the whole run, and why.
    family
        Size and level.
    baseline
        None when no baseline was named.
    run
        Everything that was measured.
    cases
        One row per case and metric, worst first.
    not_selected
        Cases of the baseline that this invocation left out.
    notes
        Sentences that a reader of the verdict must know.
    changes
        Where the history of the baseline changed; None when no kept runs were named.
    """

    schema: int
    gate: Gate
    reason: str
    family: Family
    run: Run
    cases: tuple[Row, ...]
    baseline: Against | None = None
    not_selected: int = 0
    notes: tuple[str, ...] = ()
    changes: Changes | None = None


def features_suffix(features: Sequence[str]) -> str:
    """Return what the features of a case add to its node id: `` {a,b}``, or nothing."""
    return f" {{{','.join(features)}}}" if features else ""


def in_scope(file: str, scope: Iterable[str]) -> bool:
    """Tell whether `file` is one of the paths in `scope` or lies below one of them (``.`` holds everything)."""
    return any(place == "." or file == place or file.startswith(f"{place}/") for place in scope)


def worst(gates: Iterable[Gate]) -> Gate:
    """Return the worst of the gates, `Gate.PASS` when there are none."""
    order: Sequence[Gate] = list(Gate)
    return max(gates, key=order.index, default=Gate.PASS)


STANDARD_METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("throughput", "1/s", "higher"),
        Metric("latency_p50", "s", "lower"),
        Metric("latency_p90", "s", "lower"),
        Metric("latency_p95", "s", "lower"),
        Metric("latency_p99", "s", "lower"),
        Metric("latency_p999", "s", "lower"),
        Metric("cpu_time", "s", "lower"),
        Metric("peak_memory", "B", "lower"),
        Metric("run_delay", "ratio", "lower"),
        Metric("failure_rate", "ratio", "lower"),
        Metric("retry_rate", "ratio", "lower"),
        Metric("write_amplification", "ratio", "lower"),
        Metric("compression_ratio", "ratio", "higher"),
        Metric("cache_hit_rate", "ratio", "higher"),
    )
}
"""The metrics whose meaning is fixed: a test that records one of these must use its direction and dimension.

``throughput`` and ``cpu_time`` are per unit of work, so that a case shows them as ``tx/s`` and ``s/tx``.
"""
