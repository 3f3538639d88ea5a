"""What gates of unchanged code show about the gate: alarms, which are all false, and how much launch pairs differ.

From these follows what the next gate could tell (`judge.power`), and a last gate shows whether that is so: in it the
candidate's side really did more work.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pytest_supervm.judge import power
from pytest_supervm.judge.live import Key
from pytest_supervm.judge.power import Rules
from pytest_supervm.model import Checked, Family, SelfCheck, Verdict

ALARMS = (Verdict.REGRESSED, Verdict.SLOWER)
"""What a gate says about a change for the worse; over unchanged code it is a false alarm."""

CARRIES_WORK = ("throughput", "cpu_time")
"""Metrics that extra calls in a block show in; the latency of a single call stays what it was."""

COARSE = 2.0
"""Where rounding up makes the extra work more than this many times of what it should be, it confirms nothing."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One gate.

    Attributes
    ----------
    seconds, budget
        That it took, and that it was given.
    launches
        Launch pairs it played.
    family
        Pairs of case and metric that were judged together.
    verdicts
        Of every member of the family.
    effects
        Of its launch pairs.
    troubles
        Why a case was not measured to the end, by case.
    extra
        Share of extra work of the candidate's blocks, by case; nothing in a gate of unchanged code.
    """

    seconds: float
    budget: float
    launches: int
    family: int
    verdicts: Mapping[Key, Verdict]
    effects: Mapping[Key, Sequence[float]]
    troubles: Mapping[str, str]
    extra: Mapping[str, float]

    def ended(self, *verdicts: Verdict) -> set[Key]:
        """Return the pairs that ended with one of these verdicts."""
        return {key for key, verdict in self.verdicts.items() if verdict in verdicts}


@dataclass(frozen=True, slots=True)
class Terms:
    """What every gate is held against: relative thresholds by case and metric, and the level."""

    thresholds: Mapping[Key, float]
    level: float


def smallest(gates: Sequence[Outcome], terms: Terms) -> dict[Key, float | None]:
    """Return the smallest slowdown of each pair that would be told, as an effect; None where even `power.LARGEST` might
    not be.
    """
    size, launches = _size(gates), _affordable(gates)
    found: dict[Key, float | None] = {}
    for key, spread in _spreads(gates).items():
        found[key] = power.smallest(spread, Rules(terms.thresholds[key], size, terms.level, launches))
    return found


def extra_work(visible: Mapping[Key, float | None]) -> dict[str, float]:
    """Return the share of extra work that is to confirm what is visible, by case."""
    shares: dict[str, float] = {}
    for (case_id, metric), effect in visible.items():
        if metric in CARRIES_WORK and effect is not None:
            shares[case_id] = max(math.expm1(effect), shares.get(case_id, 0.0))
    return shares


def sum_up(gates: Sequence[Outcome], confirmed: Outcome | None, terms: Terms) -> SelfCheck:
    """Return what the gates showed.

    Parameters
    ----------
    gates
        Of unchanged code, at least one.
    confirmed
        The gate with extra work, if it was played.
    terms
        Of all of them.
    """
    visible, spreads = smallest(gates, terms), _spreads(gates)
    wanted = extra_work(visible)
    alarms = sum(bool(gate.ended(*ALARMS)) for gate in gates)
    return SelfCheck(
        seconds=sum(gate.seconds for gate in gates) + (confirmed.seconds if confirmed else 0),
        budget=gates[0].budget,
        launches=_affordable(gates),
        family=Family(_size(gates), terms.level),
        gates=len(gates),
        alarms=alarms,
        alarm_rate=power.exact(alarms, len(gates)),
        improved=sum(bool(gate.ended(Verdict.IMPROVED)) for gate in gates),
        cases=tuple(
            _checked(key, gates, spreads.get(key), visible.get(key), confirmed, wanted.get(key[0], 0.0))
            for key in _family(gates)
        ),
        notes=tuple(_notes(gates, confirmed)),
    )


def _checked(
    key: Key,
    gates: Sequence[Outcome],
    spread: float | None,
    visible: float | None,
    confirmed: Outcome | None,
    wanted: float,
) -> Checked:
    judged = [gate for gate in gates if key in gate.verdicts]
    alarms = sum(key in gate.ended(*ALARMS) for gate in judged)
    planted, caught, remark = _confirmation(key, confirmed, wanted if visible else 0.0)
    if spread is None:
        remark = "too few launches have a value of this metric"
    return Checked(
        id=key[0],
        metric=key[1],
        gates=len(judged),
        alarms=alarms,
        alarm_rate=power.exact(alarms, len(judged)),
        improved=sum(key in gate.ended(Verdict.IMPROVED) for gate in judged),
        inconclusive=sum(key in gate.ended(Verdict.INCONCLUSIVE) for gate in judged),
        launches=sum(len(gate.effects.get(key, ())) for gate in gates),
        spread=spread,
        smallest=visible,
        extra=planted,
        caught=caught,
        remark=remark,
    )


def _confirmation(key: Key, confirmed: Outcome | None, wanted: float) -> tuple[float | None, bool | None, str | None]:
    """Return the extra work that a case really did, as an effect, whether it was told, and why neither is known."""
    case_id, metric = key
    if metric not in CARRIES_WORK:
        return None, None, "extra calls in a block do not show in this metric"
    if not wanted:
        return None, None, "no slowdown is known that would be told"
    if confirmed is None:
        return None, None, "the gate with extra work was not played to its end"
    if key not in confirmed.verdicts or not (share := confirmed.extra.get(case_id)):
        return None, None, confirmed.troubles.get(case_id, "the gate with extra work did not judge it")
    if share > COARSE * wanted:
        return None, None, f"too coarse to confirm: a block has so few calls that one more is {share:.0%} more work"
    return math.log1p(share), confirmed.verdicts[key] in ALARMS, None


def _notes(gates: Sequence[Outcome], confirmed: Outcome | None) -> Iterator[str]:
    troubles: dict[str, str] = {}
    for gate in (*gates, *([confirmed] if confirmed else ())):
        troubles |= gate.troubles
    for case_id, trouble in troubles.items():
        yield f"{case_id} was not checked to the end: {trouble}"
    if silent := sum(not gate.verdicts for gate in gates):
        yield (
            f"{silent} of {len(gates)} gates judged nothing, so they could not raise an alarm: it takes a relative "
            f"threshold, and two launch pairs within --supervm-budget"
        )


def _family(gates: Sequence[Outcome]) -> list[Key]:
    """Return what any gate judged, the metrics of a case together."""
    keys = dict.fromkeys(key for gate in gates for key in gate.verdicts)
    cases = list(dict.fromkeys(case_id for case_id, _ in keys))
    return sorted(keys, key=lambda key: cases.index(key[0]))


def _size(gates: Sequence[Outcome]) -> int:
    return max(gate.family for gate in gates)


def _affordable(gates: Sequence[Outcome]) -> int:
    """Return the launch pairs that the budget allows, at the mean pace of all gates."""
    pace = sum(gate.seconds for gate in gates) / sum(gate.launches for gate in gates)
    return power.launches_within(gates[0].budget, pace)


def _spreads(gates: Sequence[Outcome]) -> dict[Key, float]:
    """Return the standard deviation of each pair's effects over the launch pairs of all gates.

    About their mean over all: where gates as a whole differ, as on a machine that changes its mood, that counts too.
    """
    pooled = {key: [one for gate in gates for one in gate.effects.get(key, ())] for key in _family(gates)}
    return {key: statistics.stdev(effects) for key, effects in pooled.items() if len(effects) > 1}
