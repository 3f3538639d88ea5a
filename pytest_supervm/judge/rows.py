"""What every row says in the same way, whether its baseline was kept or measured live."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_supervm import units
from pytest_supervm.judge.policy import NO_POLICY, Policy, effect_as_change
from pytest_supervm.model import Action, Better, Case, Metric, Row, Verdict

BADNESS = [
    Verdict.REGRESSED,
    Verdict.MISSING,
    Verdict.ERRORED,
    Verdict.INCONCLUSIVE,
    Verdict.SLOWER,
    Verdict.UNMEASURED,
    Verdict.IMPROVED,
    Verdict.NEW,
    Verdict.EQUIVALENT,
    Verdict.NOT_SELECTED,
]


def action(policy: Policy, effect: float | None, verdict: Verdict) -> Action | None:
    """A regression blocks from the blocking threshold on, and warns below it where a warning is asked for."""
    if verdict is not Verdict.REGRESSED or effect is None:
        return None
    if policy.block is not None and effect >= policy.block:
        return Action.BLOCK
    return Action.WARN


def because(verdict: Verdict, policy: Policy, effect: float, better: Better) -> str:
    """Say what an interval showed, in a reader's terms."""
    threshold = policy.block if action(policy, effect, verdict) is Action.BLOCK else policy.threshold
    reach = "1 %" if threshold is None else f"the threshold of {_change(threshold, better)}"
    match verdict:
        case Verdict.REGRESSED:
            return f"worse, and by more than {reach}"
        case Verdict.SLOWER:
            return "worse beyond doubt" + ("" if threshold is None else f", but by less than {reach}")
        case Verdict.IMPROVED:
            return f"better, and by more than {reach}"
        case Verdict.EQUIVALENT:
            return f"no change beyond {reach}"
        case _:
            return f"the interval is too wide for {reach}"


def limit(policy: Policy, value: float | None, metric: Metric) -> tuple[bool, str] | None:
    """Tell whether a figure is beyond its limit, and say so; None where there is no limit or no figure."""
    if policy.limit is None or value is None:
        return None
    lower_is_better = metric.better == "lower"
    shown = units.quantity(policy.limit, metric.unit)
    if value > policy.limit if lower_is_better else value < policy.limit:
        side = "over" if lower_is_better else "below"
        return True, f"{units.quantity(value, metric.unit)} is {side} its limit of {shown}"
    return False, f"within its limit of {shown}"


def absent_metrics(case: Case, kept: Case, policies: Mapping[str, Policy], reason: str) -> list[Row]:
    """Return a blocking row for each figure that a policy asks for, that the baseline has and that this run lacks."""
    return [
        Row(
            id=case.id,
            location=case.location,
            verdict=Verdict.MISSING,
            reason=reason,
            metric=series.metric.name,
            unit=series.metric.unit,
            better=series.metric.better,
            baseline=series.value,
            threshold=policy.threshold,
            limit=policy.limit,
            action=Action.BLOCK,
        )
        for series in kept.series
        if series.value is not None
        and case.get(series.metric.name) is None
        and (policy := policies.get(series.metric.name, NO_POLICY)) != NO_POLICY
    ]


def shown_threshold(policy: Policy, what: Action | None) -> float | None:
    """Return the threshold that a row is to be read against: the one that acted, else the smaller one."""
    return {Action.BLOCK: policy.block, Action.WARN: policy.warn, None: policy.threshold}[what]


def badness(row: Row) -> tuple[int, int]:
    """Sort key: what blocks, what warns, what was judged from worst to best, limits that hold, other figures.

    Ties keep the order of the run.
    """
    unheld = row.limit is not None and row.verdict is Verdict.UNMEASURED
    if row.metric is None or row.threshold is not None or unheld:
        return effect_on_gate(row), BADNESS.index(row.verdict)
    return effect_on_gate(row), len(BADNESS) + (row.limit is None)


def effect_on_gate(row: Row) -> int:
    """Sort key: what blocks, what warns, the rest."""
    return [Action.BLOCK, Action.WARN, None].index(row.action)


def _change(effect: float, better: Better) -> str:
    return f"{100 * effect_as_change(effect, better):.3g} %"
