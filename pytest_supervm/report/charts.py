"""The history of one metric of one case, as numbers that a chart can draw without knowing anything.

A point is one kept run: the median that the laboratory judges by, with the quartiles of its blocks, so that half of
a run's blocks lie between its whiskers. The quartiles show how restless a run was; they are not the interval that
decides. That one is drawn as the band where this run was expected if nothing had changed: this run's value, moved back
by each end of the effect's interval. This run lies outside its band exactly when the interval excludes no change.

Values are in the metric's base unit. Text for people is written here, so that the page's script formats no numbers.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pytest_supervm.model import Case, ChangePoint, History, Metric, Results, Row, Run, Series
from pytest_supervm.report import wording
from pytest_supervm.units import quantity


@dataclass(frozen=True, slots=True)
class Point:
    """One run's figure: the median, and the middle half of its blocks where there are enough of them."""

    run: Run
    here: bool
    value: float
    middle: tuple[float, float] | None
    unit: str

    @property
    def text(self) -> str:
        """The median for people."""
        return quantity(self.value, self.unit)

    @property
    def middle_text(self) -> str:
        """The middle half of the blocks for people."""
        return " to ".join(quantity(end, self.unit) for end in self.middle or ())


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything that the chart of one metric shows.

    Attributes
    ----------
    metric
        Name, unit and direction.
    kept
        The baseline's runs that hold a value, oldest first; never empty.
    now
        This run's point, or None when it has no value.
    band
        Where this run was expected if nothing had changed, lower end first, or None without an interval.
    confidence
        How often such a band holds an unchanged run.
    changes
        Change points of this history, oldest first.
    """

    metric: Metric
    kept: tuple[Point, ...]
    now: Point | None
    band: tuple[float, float] | None
    confidence: float | None
    changes: tuple[ChangePoint, ...] = ()

    @property
    def summary(self) -> str:
        """Say in a few sentences what the chart shows: its text alternative, together with its newest points."""
        values = [point.value for point in self.kept]
        elsewhere = sum(not point.here for point in self.kept)
        parts = [
            f"{wording.count(len(values), 'kept run')} from {wording.moment(self.kept[0].run.time)} to "
            f"{wording.moment(self.kept[-1].run.time)}, between {self._text(min(values))} and {self._text(max(values))}"
            + (f"; {elsewhere} of them on other machines" if elsewhere else "")
        ]
        if self.now:
            parts.append(f"This run: {self.now.text}")
        if self.band:
            sure = f" ({wording.coverage(self.confidence)} interval)" if self.confidence else ""
            parts.append(f"Expected if nothing had changed: {self.band_text}{sure}")
        if self.changes:
            parts.append(
                f"{wording.count(len(self.changes), 'change point')}: {', '.join(map(wording.step, self.changes))}"
            )
        return ". ".join(parts) + "."

    @property
    def band_text(self) -> str:
        """The band for people."""
        return " to ".join(self._text(end) for end in self.band or ())

    def data(self, runs: Mapping[str, int]) -> dict[str, object]:
        """Return what the page's script draws, as columns; a run is its place in `runs`."""
        return {
            "unit": self.metric.unit,
            "kept": _columns(self.kept, runs),
            "now": _columns([self.now] if self.now else [], runs),
            "band": self.band,
            "changes": [
                {"at": place, "text": wording.step(change)}
                for change in self.changes
                for place, point in enumerate(self.kept)
                if point.run.id == change.first.run
            ],
        }

    def _text(self, value: float) -> str:
        return quantity(value, self.metric.unit)


def band(row: Row) -> tuple[float, float] | None:
    """Return where the candidate of a row was expected if nothing had changed, lower end first.

    An effect e with interval [low, high] says that a candidate c in the direction of worse, on the logarithmic scale,
    stands e above its baseline b, give or take: unchanged, it was expected within b - (high - e) and b + (e - low). As
    c = b + e, that is c - high to c - low, which is exact even where the baseline shown is rounded or is another
    average than the one the effect was taken from.

    Parameters
    ----------
    row
        Its `candidate` in base units, its `interval` as effects.

    Returns
    -------
    tuple of float or None
        Two values in the row's unit; None without an interval or where its ends are not finite.
    """
    ends = wording.natural_interval(row)
    if ends is None or row.candidate is None or row.candidate <= 0:
        return None
    logarithms = [math.log(row.candidate) - end for end in reversed(ends)]
    if not all(abs(logarithm) < math.log(1e300) for logarithm in logarithms):
        return None
    low, high = map(math.exp, logarithms)
    return low, high


def charts(results: Results, history: History | None) -> dict[str, list[Chart]]:
    """Return the charts of every case that has kept runs, by case id and in the order of its metrics.

    Parameters
    ----------
    results
        This run and its rows.
    history
        The baseline's runs, oldest first; this run is left out should it be among them.
    """
    past = [run for run in history.runs if run.id != results.run.id] if history else []
    cases_of = [(run, {case.id: case for case in run.cases}) for run in past]
    rows = {(row.id, row.metric): row for row in results.cases}
    present = {case.id: case for case in results.run.cases}
    changes: dict[tuple[str, str], list[ChangePoint]] = {}
    for change in results.changes.points if results.changes else ():
        changes.setdefault((change.id, change.metric), []).append(change)
    drawn: dict[str, list[Chart]] = {}
    for case_id in dict.fromkeys([*(row.id for row in results.cases), *present]):
        now = present.get(case_id)
        kept = [(run, cases[case_id]) for run, cases in cases_of if case_id in cases]
        for metric in _metrics(now, kept):
            points = [point for run, case in kept if (point := _point(run, case, metric, results.run))]
            if points:
                row = rows.get((case_id, metric.name))
                chart = Chart(
                    metric=metric,
                    kept=tuple(points),
                    now=_point(results.run, now, metric, results.run) if now else None,
                    band=band(row) if row else None,
                    confidence=row.confidence if row else None,
                    changes=tuple(changes.get((case_id, metric.name), ())),
                )
                drawn.setdefault(case_id, []).append(chart)
    return drawn


def _metrics(now: Case | None, kept: Sequence[tuple[Run, Case]]) -> Iterable[Metric]:
    """Return the metrics of the case as it is now, or as it was last."""
    case = now or (kept[-1][1] if kept else None)
    return [series.metric for series in case.series] if case else []


def _point(run: Run, case: Case, metric: Metric, current: Run) -> Point | None:
    series = case.get(metric.name)
    if series is None or series.metric != metric or (value := series.value) is None or not math.isfinite(value):
        return None
    return Point(run, run.machine == current.machine, value, _middle(series), metric.unit)


def _middle(series: Series) -> tuple[float, float] | None:
    """Return the lower and upper quartile of all blocks of all launches."""
    blocks = [value for launch in series.launches for value in launch]
    if len(blocks) < 2:
        return None
    low, _, high = statistics.quantiles(blocks, n=4, method="inclusive")
    return low, high


def _columns(points: Sequence[Point], runs: Mapping[str, int]) -> dict[str, object]:
    return {
        "run": [runs[point.run.id] for point in points],
        "value": [_drawn(point.value) for point in points],
        "low": [_drawn(point.middle[0] if point.middle else point.value) for point in points],
        "high": [_drawn(point.middle[1] if point.middle else point.value) for point in points],
        "text": [f"{point.text}, middle half {point.middle_text}" if point.middle else point.text for point in points],
    }


def _drawn(value: float) -> float:
    """Round to more digits than a screen has pixels: full precision would double the size of a page."""
    return float(f"{value:.6g}")
