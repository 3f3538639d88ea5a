"""One HTML page that needs nothing but itself: the gate's verdict, the table, and every case with its history.

The page is complete without a script: verdict, table and figures are plain HTML. The script adds sorting, filtering,
searching and the charts, which it draws when they come into view; until the first one does, Plotly is inert text, so
that a page with hundreds of cases opens at once.

Names in a report come from tests, commits and baseline files, so none is trusted. Jinja2 escapes every one in HTML;
data for the script is JSON in which no character can end a script element; and the page's content security policy
forbids every request, so that even a mistake here could send nothing anywhere.
"""

from __future__ import annotations

import hashlib
import re
import statistics
from collections import Counter
from dataclasses import dataclass
from functools import cache

import jinja2
import msgspec
from markupsafe import Markup

from pytest_supervm.model import Case, Gate, History, Location, Results, Row, Run, Series, Verdict
from pytest_supervm.report import selfcheck, wording
from pytest_supervm.report.charts import Chart, charts
from pytest_supervm.units import quantity

NEWEST = 10
"""Points that a chart's text alternative lists; the rest is summed up in its sentence and drawn in the chart."""

FOREST_SPAN = 3.0
"""Thresholds to either side of no change that the small interval drawings show."""

HEADLINES = {
    Gate.PASS: "The gate passes",
    Gate.INCONCLUSIVE: "The gate cannot tell",
    Gate.WARN: "The gate passes with warnings",
    Gate.BLOCK: "The gate blocks",
}

_UNSAFE_IN_SCRIPT = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}


@dataclass(frozen=True, slots=True)
class Forest:
    """An effect and its interval in units of the threshold, cut at `FOREST_SPAN`: what one small drawing shows."""

    low: float
    high: float
    estimate: float


@dataclass(frozen=True, slots=True)
class Figure:
    """All there is to show about one metric of one case; `row` is None where nothing was said about it."""

    row: Row | None
    series: Series | None
    chart: Chart | None


@dataclass(frozen=True, slots=True)
class Section:
    """One case of the page. `case` is None where this run has no such case, as when it is missing."""

    id: str
    anchor: str
    location: Location
    case: Case | None
    rows: tuple[Row, ...]
    figures: tuple[Figure, ...]

    @property
    def worst(self) -> Row | None:
        """The row that speaks for the case: rows come worst first."""
        return self.rows[0] if self.rows else None

    @property
    def opened(self) -> bool:
        """Whether the page opens with this case unfolded."""
        return any(row.action for row in self.rows)


def render(results: Results, history: History | None) -> str:
    """Return the report as one HTML page.

    Parameters
    ----------
    results
        What to show.
    history
        The runs of the baseline, oldest first, for the charts; None when there is no baseline.

    Returns
    -------
    str
        A document without references to anything outside itself.
    """
    drawn = charts(results, history)
    points = (point for cases in drawn.values() for chart in cases for point in chart.kept)
    runs = {point.run.id: point.run for point in points} | {results.run.id: results.run}
    template = _environment().get_template("report.html")
    return template.render(
        results=results,
        sections=_sections(results, drawn),
        tally=_tally(results),
        places={run_id: place for place, run_id in enumerate(runs)},
        runs=[_run_data(run, results.run) for run in runs.values()],
        packages=_packages(results.run, history),
        calibrated=_usual_calibration(results.run, history),
        plotly=_plotly(),
    )


def anchor(case_id: str) -> str:
    """Return the fragment of a case's section: readable, stable between reports, and its own for every id."""
    slug = re.sub(r"[^a-z0-9]+", "-", case_id.lower()).strip("-")[:60].rstrip("-")
    return f"case-{slug}-{hashlib.sha256(case_id.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def forest(row: Row) -> Forest | None:
    """Return the small drawing of a row's interval, or None without an interval or a relative threshold."""
    if row.interval is None or row.effect is None or not row.threshold:
        return None
    low, high, estimate = (
        max(-FOREST_SPAN, min(FOREST_SPAN, effect / row.threshold)) for effect in (*row.interval, row.effect)
    )
    return Forest(low, high, estimate)


def embedded(data: object) -> Markup:
    """Write data as JSON for a script element: no character in it can end the element or open a comment."""
    return Markup(msgspec.json.encode(data).decode().translate(_UNSAFE_IN_SCRIPT))


def _sections(results: Results, drawn: dict[str, list[Chart]]) -> list[Section]:
    rows: dict[str, list[Row]] = {}
    for row in results.cases:
        rows.setdefault(row.id, []).append(row)
    cases = {case.id: case for case in results.run.cases}
    sections = []
    for case_id in dict.fromkeys([*rows, *cases]):
        case, said = cases.get(case_id), rows.get(case_id, [])
        by_metric = {row.metric: row for row in said if row.metric}
        series = {one.metric.name: one for one in case.series} if case else {}
        chart = {one.metric.name: one for one in drawn.get(case_id, [])}
        figures = [
            Figure(by_metric.get(name), series.get(name), chart.get(name))
            for name in dict.fromkeys([*by_metric, *series, *chart])
        ]
        location = case.location if case else said[0].location
        sections.append(Section(case_id, anchor(case_id), location, case, tuple(said), tuple(figures)))
    return sections


def _packages(run: Run, history: History | None) -> list[tuple[str, str, str | None]]:
    """Return name, version, and the version of the newest kept run where it differs; ``absent`` is one too."""
    before = history.runs[-1].packages if history and history.runs else run.packages
    names = sorted({*run.packages, *before}, key=str.lower)
    versions = ((name, run.packages.get(name, "absent"), before.get(name, "absent")) for name in names)
    return [(name, now, was if was != now else None) for name, now, was in versions]


def _usual_calibration(run: Run, history: History | None) -> float | None:
    """Return the median time of the fixed work in the kept runs of this machine."""
    kept = history.runs if history else ()
    times = [known.calibration for known in kept if known.machine == run.machine and known.calibration is not None]
    return statistics.median(times) if times else None


def _tally(results: Results) -> list[tuple[Verdict, int]]:
    """Count rows by verdict, in the order of `Verdict`; a verdict without rows is left out."""
    counted = Counter(row.verdict for row in results.cases)
    return [(verdict, counted[verdict]) for verdict in Verdict if counted[verdict]]


def _run_data(run: Run, current: Run) -> dict[str, object]:
    return {
        "commit": wording.commit(run.commit),
        "time": wording.moment(run.time),
        "machine": f"{run.machine.cpu}, {wording.count(run.machine.cores, 'core')}",
        "here": run.machine == current.machine,
    }


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pytest_supervm.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "wording": wording,
        "selfcheck": selfcheck,
        "quantity": quantity,
        "anchor": anchor,
        "forest": forest,
        "headlines": HEADLINES,
        "newest": NEWEST,
        "span": FOREST_SPAN,
    }
    environment.filters["embedded"] = embedded
    return environment


@cache
def _plotly() -> Markup:
    """Return Plotly's own JavaScript, made safe to stand inside a script element whatever its version holds."""
    from plotly.offline import get_plotlyjs

    source: str = get_plotlyjs()
    return Markup(source.replace("</script", "<\\/script").replace("<!--", "<\\!--"))
