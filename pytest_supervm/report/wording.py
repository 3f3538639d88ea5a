"""How a verdict is said, whatever it is written on: figures, changes, tones and the sentence of the gate.

An effect is turned so that positive is worse. People expect the natural direction instead, where a throughput that
falls is negative, so changes are turned back here, and only here. Everything is plain ASCII except `SYMBOLS`, which
repeat a verdict's word as a shape so that a report never speaks by colour alone.
"""

from __future__ import annotations

import math
from typing import Final, Literal

from pytest_supervm.model import Action, Against, Better, ChangePoint, Changes, Commit, Gate, Results, Row, Verdict
from pytest_supervm.units import percent_change, quantity

Tone = Literal["good", "plain", "dim", "warn", "bad"]

ACTIONS: Final = {Action.WARN: "warns", Action.BLOCK: "BLOCKS"}
SYMBOLS: Final = {
    Verdict.REGRESSED: "✕",
    Verdict.SLOWER: "↓",
    Verdict.EQUIVALENT: "=",
    Verdict.IMPROVED: "↑",
    Verdict.INCONCLUSIVE: "?",
    Verdict.MISSING: "∅",
    Verdict.NEW: "+",
    Verdict.NOT_SELECTED: "-",
    Verdict.UNMEASURED: "○",
    Verdict.ERRORED: "!",
}
GATE_SYMBOLS: Final = {Gate.PASS: "✓", Gate.INCONCLUSIVE: "?", Gate.WARN: "!", Gate.BLOCK: "✕"}
GATE_TONES: Final[dict[Gate, Tone]] = {
    Gate.PASS: "good",
    Gate.INCONCLUSIVE: "warn",
    Gate.WARN: "warn",
    Gate.BLOCK: "bad",
}

ATTENTION: Final = {Verdict.INCONCLUSIVE, Verdict.MISSING, Verdict.ERRORED, Verdict.UNMEASURED}
RECENT: Final = 10
"""Runs of this machine that a change point may be old for the terminal to speak of it; the report shows all."""

LARGEST_FACTOR: Final = 1000.0
"""A change above this factor is written as ``>x1000``: more digits would say nothing more."""


def natural(effect: float, better: Better | None) -> float:
    """Turn an effect, where positive is worse, back into the log ratio of candidate to baseline."""
    return 0.0 - effect if better == "higher" else effect


def natural_interval(row: Row) -> tuple[float, float] | None:
    """Return the interval of the log ratio of candidate to baseline, lower end first."""
    if row.interval is None:
        return None
    low, high = sorted(natural(end, row.better) for end in row.interval)
    return low, high


def percent(log_ratio: float) -> str:
    """Write a log ratio as a signed percentage, a factor (``x148``) where large, ``>x1000`` where huge."""
    return percent_change(log_ratio) if log_ratio <= math.log(LARGEST_FACTOR) else f">x{LARGEST_FACTOR:.0f}"


def change(row: Row) -> str:
    """Write the change of a row, ``-3.1 %``; empty where there is no ratio."""
    return "" if row.effect is None else percent(natural(row.effect, row.better))


def interval(row: Row) -> str:
    """Write the interval of a row's change in percent, ``[-4.0, +1.7]``; empty where there is none."""
    ends = natural_interval(row)
    return f"[{', '.join(percent(end).removesuffix(' %') for end in ends)}]" if ends else ""


def threshold(row: Row) -> str:
    """Write the change from which on a row breaks its policy, ``-5.0 %``; empty where the policy has none."""
    return "" if row.threshold is None else percent(natural(row.threshold, row.better))


def coverage(confidence: float) -> str:
    """Write how often an interval holds the truth, ``99.8 %``, with the digits that a large family needs."""
    return f"{100 * confidence:.6g} %"


def figures(row: Row) -> str:
    """Write both sides of a row, ``1.24 M -> 980 k tx/s``: what ends both alike is written once."""
    if row.baseline is None:
        return "" if row.candidate is None else quantity(row.candidate, row.unit)
    before, after = (quantity(value, row.unit).split(" ") for value in (row.baseline, row.candidate))
    shared = 0
    while shared < min(len(before), len(after)) - 1 and before[-1 - shared] == after[-1 - shared]:
        shared += 1
    return f"{' '.join(before[: len(before) - shared])} -> {' '.join(after)}"


def action(row: Row) -> str:
    """Say what a row does to the gate; empty when it does nothing."""
    return "" if row.action is None else ACTIONS[row.action]


def has_policy(row: Row) -> bool:
    """Tell whether anything was asked of this row. A verdict on a whole case is always asked for."""
    return row.metric is None or row.threshold is not None or row.limit is not None or row.action is not None


def within_limit(row: Row) -> bool:
    """Tell whether a limit is all that was asked of this row, and it holds."""
    return row.limit is not None and row.threshold is None and row.action is None and row.candidate is not None


def word(row: Row) -> str:
    """Name a row's verdict; where only a limit was asked for and it holds, that is the verdict a reader wants."""
    return "within limit" if within_limit(row) else row.verdict.value


def needs_attention(row: Row) -> bool:
    """Tell whether a reader must know the reason of this row, not only its verdict."""
    if within_limit(row) or not has_policy(row):
        return False
    return row.action is not None or row.verdict in ATTENTION


def tone(row: Row) -> Tone:
    """Return how loudly a row is said. What it does to the gate comes before its verdict."""
    if row.action is Action.BLOCK:
        return "bad"
    if needs_attention(row) or row.verdict is Verdict.REGRESSED:
        return "warn"
    if row.verdict is Verdict.IMPROVED:
        return "good"
    return "plain" if row.verdict in (Verdict.EQUIVALENT, Verdict.SLOWER) else "dim"


def count(number: int, noun: str) -> str:
    """Write a number and its noun, ``1 pair`` or ``8 pairs``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def family(results: Results) -> str:
    """Say how many pairs shared which error level."""
    together = " together" if results.family.size > 1 else ""
    return f"{count(results.family.size, 'pair')} judged{together} at level {results.family.level:g}"


def kept_runs(against: Against) -> str:
    """Say how many runs the baseline holds and how many of them count here, or what was measured live."""
    live = f"{against.commit[:7]}, {count(against.launches, 'launch pair')}" if against.commit is not None else ""
    if against.runs == 0 and live:
        return f"merge base {live}"
    runs = count(against.runs, "kept run")
    if against.runs != against.runs_of_this_machine:
        runs += f", {against.runs_of_this_machine or 'none'}"
    return f"{runs} of this machine{f'; live at {live}' if live else ''}"


def opponent(results: Results) -> str:
    """Say what the run was judged against."""
    against = results.baseline
    return "without a baseline" if against is None else f"against {against.name} ({kept_runs(against)})"


def step(point: ChangePoint) -> str:
    """Write how far a change point went, ``-8.3 %``."""
    return percent(natural(point.effect, point.better))


def direction(point: ChangePoint) -> str:
    """Say whether a change point was for the worse."""
    return "worse" if point.effect > 0 else "better"


def brought_by(point: ChangePoint) -> str:
    """Name the commits that brought a change, or the time where they are unknown."""
    span = f"between {moment(point.last.time)} and {moment(point.first.time)}"
    return f"in {point.commits}, {span}" if point.commits else span


def chance(point: ChangePoint) -> str:
    """Write how often a shuffled history looks as clear, ``p = 0.0004``."""
    return f"p = {point.p_value:.2g}"


def recent_changes(changes: Changes) -> str:
    """Say in one sentence what changed in the last runs, the largest change for the worse first; empty if nothing."""
    recent = sorted((p for p in changes.points if p.age <= RECENT), key=lambda point: point.effect, reverse=True)
    if not recent:
        return ""
    first, others = recent[0], len(recent) - 1
    also = f"; and {count(others, 'other change')} in the report" if others else ""
    remark = f"; {first.remark}" if first.remark else ""
    return (
        f"{first.id}: the {first.metric} of the kept runs changed by {step(first)} ({direction(first)}) "
        f"{count(first.age, 'run')} ago, {brought_by(first)} ({chance(first)}){remark}{also}"
    )


def history_looked_at(changes: Changes) -> str:
    """Say where change points were searched for, and what they are worth."""
    false = f"{100 * changes.share:g} %"
    parts = [f"{changes.series} series of kept runs searched; of those with a change point, {false} may be false"]
    if changes.short:
        parts.append(f"{changes.short} too short, for that takes {changes.fewest} runs of equal settings")
    if changes.zero:
        parts.append(f"{changes.zero} with a value of zero or below, which has no ratio")
    return "; ".join(parts)


def commit(commit: Commit | None) -> str:
    """Write a commit in short, ``1a2b3c4``, with ``+changes`` when tracked files differed from it."""
    if commit is None:
        return "no commit"
    return f"{commit.id[:7]}{'+changes' if commit.dirty else ''}"


def moment(time: str) -> str:
    """Write an ISO 8601 time in UTC for people, ``2026-01-31 12:00``; what is no such time is left as it is."""
    day, separator, clock = time.partition("T")
    return f"{day} {clock[:5]}" if separator else time
