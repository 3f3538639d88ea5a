"""A run against the kept runs of a baseline: one row per case and metric, all judged together.

Only kept runs of the same machine count. Where there are none, the figures stand side by side and the verdict is
``inconclusive: other machine``: identical code differs by tens of percent between machines, so nothing is scaled and
nothing blocks. The family is every pair of case and metric that has a relative policy and a value on both sides; pairs
without a policy are described at the same level, uncorrected, and do nothing to the gate.

What the baseline lacks is new; where lines of the baseline cannot be read, nobody knows, and it is inconclusive.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_supervm.judge import rows
from pytest_supervm.judge.coverage import Selection, absent
from pytest_supervm.judge.family import holm
from pytest_supervm.judge.policy import NO_POLICY, Policy
from pytest_supervm.judge.verdict import decide
from pytest_supervm.model import Action, Case, Family, History, Metric, Row, Run, Series, Verdict

if TYPE_CHECKING:
    from pytest_supervm.judge.estimate import Estimate, Spread

NO_LONGER_RECORDED = "the baseline has this metric and its test no longer records it; save a new run to accept that"

OTHER_MACHINE = "other machine"
"""The reason where all kept runs are from other machines: their figures are shown and say nothing about this one."""

Policies = Mapping[str, Policy]
"""Metric name to policy, for one case."""


@dataclass(slots=True)
class Pair:
    """One metric of one case on its way to a row.

    Attributes
    ----------
    case, series, policy
        What was measured, and what is asked of it.
    alpha
        Two-sided error level of its interval.
    kept
        Values of the kept runs of this machine, by run id, oldest first.
    elsewhere
        Typical value of the kept runs of other machines.
    known
        Whether any kept run holds the case.
    meant
        What the metric of this name meant in a kept run that gave it another unit or direction.
    spread, estimate
        Once they are known.
    """

    case: Case
    series: Series
    policy: Policy
    alpha: float
    kept: dict[str, float] = field(default_factory=dict)
    elsewhere: float | None = None
    known: bool = False
    meant: Metric | None = None
    spread: Spread | None = None
    estimate: Estimate | None = None

    @property
    def baseline(self) -> float | None:
        """Typical value of the kept runs: of this machine if there are any, else of others.

        The geometric mean, since the effect is a difference from the mean of logarithms.
        """
        return _typical(list(self.kept.values())) if self.kept else self.elsewhere

    @property
    def compared(self) -> bool:
        """Whether both sides have a value."""
        return self.series.value is not None and self.baseline is not None


def judge(
    run: Run, history: History | None, policies: Mapping[str, Policies], selection: Selection, level: float
) -> tuple[tuple[Row, ...], Family]:
    """Judge a run against kept runs.

    Parameters
    ----------
    run
        The candidate.
    history
        The baseline's kept runs; None when none was named, and then only limits are judged.
    policies
        Policies of each case, by case id.
    selection
        What the invocation looked at, to tell missing cases from those not selected.
    level
        Family-wise error level.

    Returns
    -------
    rows
        One per case and metric, worst first, and one per case of the baseline that was not measured. Without a
        baseline, broken limits first and then the order of the run.
    family
        Size and level.
    """
    pairs = [
        Pair(case, series, policies.get(case.id, {}).get(series.metric.name, NO_POLICY), alpha=level)
        for case in run.cases
        if case.measured
        for series in case.series
    ]
    if history is not None:
        _find_kept_values(pairs, run, history)
        _estimate(pairs)
    family = [pair for pair in pairs if pair.policy.threshold is not None and pair.compared]
    p_values = [pair.estimate.p_value if pair.estimate else 1.0 for pair in family]
    for pair, alpha in zip(family, holm(p_values, level), strict=True):
        pair.alpha = alpha
    found = [_row(pair, history, family_size=len(family), level=level) for pair in pairs]
    found += [_unmeasured(case) for case in run.cases if not case.measured]
    if history is not None:
        measured = {case.id: case for case in run.cases}
        for case_id, kept in history.living_cases().items():
            if case_id not in measured:
                found.append(absent(kept, selection))
            elif measured[case_id].measured:
                found += rows.absent_metrics(measured[case_id], kept, policies.get(case_id, {}), NO_LONGER_RECORDED)
    found.sort(key=rows.badness if history is not None else rows.effect_on_gate)
    return tuple(found), Family(len(family), level)


def _find_kept_values(pairs: Sequence[Pair], run: Run, history: History) -> None:
    """Give each pair the values that the baseline kept for it, oldest first."""
    cases = [(kept, {case.id: case for case in kept.cases}) for kept in history.runs]
    for pair in pairs:
        others = []
        for kept, by_id in cases:
            case = by_id.get(pair.case.id)
            series = case.get(pair.series.metric.name) if case else None
            pair.known = pair.known or case is not None
            if series is None or (value := series.value) is None:
                continue
            if series.metric != pair.series.metric:
                pair.meant = series.metric
            elif kept.machine == run.machine:
                pair.kept[kept.id] = value
            else:
                others.append(value)
        pair.elsewhere = _typical(others) if others else None


def _typical(values: Sequence[float]) -> float:
    return statistics.geometric_mean(values) if min(values) > 0 else statistics.median(values)


def _estimate(pairs: Sequence[Pair]) -> None:
    """Estimate the effect of every pair that has a ratio; the spread is shared by the cases of one metric."""
    from pytest_supervm.judge.estimate import predict, spreads  # brings SciPy, half a second that saving need not pay

    by_metric: dict[str, list[Pair]] = {}
    for pair in pairs:
        value = pair.series.value
        if value is not None and value > 0 and pair.kept and min(pair.kept.values()) > 0:
            by_metric.setdefault(pair.series.metric.name, []).append(pair)
    for alike in by_metric.values():
        worse = [-1.0 if pair.series.metric.better == "higher" else 1.0 for pair in alike]
        logs = [
            {run: sign * math.log(value) for run, value in pair.kept.items()}
            for pair, sign in zip(alike, worse, strict=True)
        ]
        for pair, sign, kept, spread in zip(alike, worse, logs, spreads(logs), strict=True):
            pair.spread = spread
            if spread is not None and pair.series.value is not None:
                pair.estimate = predict(list(kept.values()), sign * math.log(pair.series.value), spread)


def _row(pair: Pair, history: History | None, *, family_size: int, level: float) -> Row:
    """Write down what is known about one pair."""
    estimate, policy = pair.estimate, pair.policy
    interval = estimate.interval(pair.alpha) if estimate else None
    verdict, reason = _verdict(pair, history, family_size=family_size, level=level)
    action = rows.action(policy, estimate.effect if estimate else None, verdict)
    threshold = rows.shown_threshold(policy, action)
    value = pair.series.value
    if (limited := rows.limit(policy, value, pair.series.metric)) is not None:
        broken, sentence = limited
        if broken or threshold is None:
            reason = sentence
        if broken:
            action = Action.BLOCK
    return Row(
        id=pair.case.id,
        location=pair.case.location,
        metric=pair.series.metric.name,
        unit=pair.series.metric.unit,
        better=pair.series.metric.better,
        verdict=verdict,
        reason=reason,
        effect=estimate.effect if estimate else _plain_effect(pair),
        interval=interval,
        confidence=1 - pair.alpha if estimate else None,
        baseline=pair.baseline,
        candidate=value,
        launches=len(pair.kept) + (value is not None),
        threshold=threshold,
        limit=policy.limit,
        action=action,
    )


def _verdict(pair: Pair, history: History | None, *, family_size: int, level: float) -> tuple[Verdict, str]:
    if pair.series.value is None:
        return Verdict.UNMEASURED, pair.series.unmeasured or "nothing was measured"
    if history is None:
        return Verdict.NEW, "no baseline was named"
    if not pair.compared:
        return _without_baseline(pair, history)
    if not pair.kept:
        return Verdict.INCONCLUSIVE, OTHER_MACHINE
    if pair.estimate is not None:
        threshold = pair.policy.threshold
        verdict = decide(pair.estimate.effect, pair.estimate.interval(pair.alpha), threshold)
        return verdict, _sentence(verdict, pair, pair.estimate, family_size, level)
    values = [*pair.kept.values(), pair.series.value]
    if all(value == 0 for value in values):
        return Verdict.EQUIVALENT, "zero on both sides"
    if any(value <= 0 for value in values):
        return Verdict.INCONCLUSIVE, "a value of zero or below has no ratio: give this metric a limit instead"
    return (
        Verdict.INCONCLUSIVE,
        f"1 kept run does not show how runs differ{_runs_that_would_do(pair, family_size, level)}",
    )


def _without_baseline(pair: Pair, history: History) -> tuple[Verdict, str]:
    """Say why a measured figure has nothing to be compared with."""
    if pair.meant is not None:
        meant = f"{pair.meant.unit}, {pair.meant.better} is better"
        return Verdict.NEW, f"the baseline means something else by this metric ({meant}); save a new run to go on from"
    lacks = "has no value of this metric" if pair.known else "lacks this case"
    if history.damaged:
        count = len(history.damaged)
        unread = f"{count} {'line' if count == 1 else 'lines'} of it cannot be read"
        return Verdict.INCONCLUSIVE, f"what can be read of the baseline {lacks}, but {unread}"
    return Verdict.NEW, f"the baseline {lacks}"


def _sentence(verdict: Verdict, pair: Pair, estimate: Estimate, family_size: int, level: float) -> str:
    """Say why, in a reader's terms."""
    because = rows.because(verdict, pair.policy, estimate.effect, pair.series.metric.better)
    return because + (_runs_that_would_do(pair, family_size, level) if verdict is Verdict.INCONCLUSIVE else "")


def _runs_that_would_do(pair: Pair, family_size: int, level: float) -> str:
    """Say how many kept runs would decide, under which assumption; nothing where no threshold asks for a decision."""
    from pytest_supervm.judge.estimate import MOST_RUNS, PLANNING_SPREAD, Spread, runs_needed

    spread = pair.spread or Spread(PLANNING_SPREAD, math.inf)
    threshold = pair.policy.threshold
    if threshold is None:
        return ""
    needed = runs_needed(threshold, level / max(family_size, 1), spread)
    differ = f"{100 * spread.sd:.1f} %"
    if needed is None:
        remedy = "steady the machine, measure longer or allow more"
        return f"; runs differ by {differ}, so not even {MOST_RUNS} kept runs would do: {remedy}"
    if pair.spread is None:
        return f"; {needed} kept runs would do if they differ by {differ}"
    if needed <= len(pair.kept):
        return f": runs differ by {differ}, and the change is too near the threshold to call"
    return f"; runs differ by {differ}, so {needed} kept runs would do"


def _plain_effect(pair: Pair) -> float | None:
    """The ratio of two figures that no interval can be given for: too few runs, or another machine."""
    baseline, value = pair.baseline, pair.series.value
    if baseline is None or value is None or baseline <= 0 or value <= 0:
        return None
    effect = math.log(value / baseline)
    return -effect if pair.series.metric.better == "higher" else effect


def _unmeasured(case: Case) -> Row:
    """One row stands for a case of which nothing could be measured."""
    reason = next((series.unmeasured for series in case.series if series.unmeasured), "nothing was measured")
    return Row(id=case.id, location=case.location, verdict=Verdict.UNMEASURED, reason=reason)
