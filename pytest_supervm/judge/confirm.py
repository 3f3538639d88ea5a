"""Kept runs first, a live duel where they leave doubt: what becomes of a row once both have spoken.

Kept runs are quick to judge by and see everything that changed since, the machine's mood and a new compiler included.
A duel takes longer and sees the code alone. So the kept runs decide what needs a duel (what would block, and what they
cannot tell), and the duel decides that. Where they disagree, it was the environment and not the code. A duel that has
nothing to say about a row leaves it as it was, with the reason.

Both have a family and a level of their own. A false alarm of the kept runs must be repeated live before it blocks, so
the two together raise no more of them than the duel alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from pytest_supervm.judge import rows
from pytest_supervm.model import Action, Row, Verdict

Key = tuple[str, str]
"""Case id and metric name."""

DECIDED = {
    Verdict.REGRESSED,
    Verdict.SLOWER,
    Verdict.EQUIVALENT,
    Verdict.IMPROVED,
    Verdict.INCONCLUSIVE,
}
"""What a duel must say of a row to be heard."""


def doubtful(kept: Iterable[Row]) -> frozenset[Key]:
    """Return what needs a duel: regressions that block, and figures with a threshold that kept runs cannot tell."""
    return frozenset(
        (row.id, row.metric)
        for row in kept
        if row.metric is not None
        and row.threshold is not None
        and row.candidate is not None
        and (row.verdict is Verdict.INCONCLUSIVE or (row.verdict is Verdict.REGRESSED and row.action is Action.BLOCK))
    )


def confirm(kept: Sequence[Row], live: Iterable[Row], commit: str) -> tuple[Row, ...]:
    """Let the duel decide what kept runs left in doubt.

    Parameters
    ----------
    kept
        The rows by kept runs.
    live
        The rows of the duel.
    commit
        What it was played against, in short.

    Returns
    -------
    tuple
        As many rows, worst first.
    """
    doubt = doubtful(kept)
    by_case = {row.id: row for row in live if row.metric is None}
    by_pair = {(row.id, row.metric): row for row in live if row.metric is not None}
    decided = []
    for row in kept:
        if row.metric is None or (row.id, row.metric) not in doubt:
            decided.append(row)
            continue
        decided.append(_decide(row, by_pair.get((row.id, row.metric)) or by_case.get(row.id), commit))
    return tuple(sorted(decided, key=rows.badness))


def _decide(kept: Row, live: Row | None, commit: str) -> Row:
    if live is None or live.verdict not in DECIDED or live.effect is None:
        why = live.reason if live is not None else "the duel did not reach it"
        return msgspec.structs.replace(kept, reason=f"{kept.reason}; not confirmed live: {why}")
    if kept.action is Action.BLOCK and live.action is Action.BLOCK and live.verdict is Verdict.REGRESSED:
        reason = f"{live.reason}; kept runs say so too"
    elif kept.verdict is not Verdict.REGRESSED or live.verdict is Verdict.REGRESSED:
        reason = live.reason
    elif live.verdict is Verdict.INCONCLUSIVE:
        reason = f"kept runs say regressed, and live it cannot be told: {live.reason}"
    else:
        reason = f"environment, not code: kept runs say regressed, live {live.reason}"
    return msgspec.structs.replace(live, location=kept.location, reason=f"live at {commit}: {reason}")
