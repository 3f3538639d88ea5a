"""The whole suite's verdict: block > warn > inconclusive > pass. It fails closed: a gate over nothing blocks.

Only what somebody asked to be judged counts: rows with a threshold or a limit, and cases as a whole (missing, errored,
or with nothing measured at all).
"""

from __future__ import annotations

from collections.abc import Sequence

from pytest_supervm.model import Action, Gate, Row, Verdict, worst

COMPARED = {Verdict.REGRESSED, Verdict.SLOWER, Verdict.EQUIVALENT, Verdict.IMPROVED, Verdict.INCONCLUSIVE}


def gate_of(row: Row) -> Gate:
    """Return what one row alone makes of the gate."""
    if row.action is Action.BLOCK:
        return Gate.BLOCK
    if row.action is Action.WARN:
        return Gate.WARN
    asked = row.threshold is not None or row.metric is None
    if asked and row.verdict in (Verdict.INCONCLUSIVE, Verdict.ERRORED):
        return Gate.INCONCLUSIVE
    if row.verdict is Verdict.UNMEASURED and (
        row.metric is None or row.limit is not None or (row.threshold is not None and row.baseline is not None)
    ):
        return Gate.INCONCLUSIVE
    return Gate.PASS


def decide(rows: Sequence[Row], *, baseline: str | None) -> tuple[Gate, str]:
    """Return the gate's verdict and why.

    Parameters
    ----------
    rows
        All rows of the run.
    baseline
        Name of the baseline, or None when none was named.

    Returns
    -------
    gate, reason
        The verdict, and one sentence that counts what made it.
    """
    judged = [
        row
        for row in rows
        if (row.threshold is not None and row.verdict in COMPARED and row.baseline is not None)
        or (row.limit is not None and row.candidate is not None)
        or row.action is not None
    ]
    if not judged:
        unmeasured = [row for row in rows if row.limit is not None or row.metric is None]
        if baseline is None and unmeasured:
            return Gate.INCONCLUSIVE, f"nothing was judged: {_count(len(unmeasured), 'figure')} could not be measured"
        if baseline is None:
            return Gate.PASS, "nothing was judged: no baseline was named and no measured metric has a limit"
        return Gate.BLOCK, (
            f"nothing was judged: no measured metric with a policy has a value in {baseline!r}; "
            f"a gate over nothing is closed"
        )
    verdict = worst(map(gate_of, rows))
    decisive = [row for row in rows if gate_of(row) is verdict]
    if verdict is Gate.PASS:
        return verdict, f"{_count(len(judged), 'figure')} judged, none beyond its policy"
    return verdict, _kinds(decisive)


def _kinds(rows: Sequence[Row]) -> str:
    """Count rows by what is wrong with them: ``2 regressed, 1 missing``."""
    counts: dict[str, int] = {}
    for row in rows:
        over = row.action is Action.BLOCK and row.verdict not in (Verdict.REGRESSED, Verdict.MISSING)
        word = "beyond a limit" if over else str(row.verdict)
        counts[word] = counts.get(word, 0) + 1
    return ", ".join(f"{count} {word}" for word, count in counts.items())


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
