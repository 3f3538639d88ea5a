"""What becomes of a row once kept runs and a duel have both spoken."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_supervm.judge.confirm import DECIDED, confirm, doubtful
from pytest_supervm.model import Action, Location, Row, Verdict

EFFECTS = {Verdict.REGRESSED: 0.2, Verdict.SLOWER: 0.03, Verdict.IMPROVED: -0.2}


def a_row(verdict, case="t.py::test", metric="throughput", **fields):
    effect = EFFECTS.get(verdict, 0.0) if verdict in DECIDED else None
    action = Action.BLOCK if verdict is Verdict.REGRESSED else None
    known = {
        "reason": "it is so",
        "baseline": 1.0,
        "candidate": 1.0,
        "threshold": 0.1,
        "effect": effect,
        "action": action,
    }
    return Row(id=case, location=Location("t.py", 1), metric=metric, verdict=verdict, **(known | fields))


def decided(kept, live):
    (row,) = confirm([kept], [live] if live else [], "1a2b3c4")
    return row


verdicts = st.sampled_from(list(Verdict))
rows = st.lists(
    st.builds(a_row, verdicts, st.sampled_from("abc"), st.sampled_from(["throughput", "latency_p99"])),
    max_size=6,
    unique_by=lambda row: (row.id, row.metric),
)


@given(rows, rows)
def test_a_duel_changes_what_is_in_doubt_and_nothing_else(kept, live):
    doubt = doubtful(kept)
    after = {(row.id, row.metric): row for row in confirm(kept, live, "1a2b3c4")}
    assert set(after) == {(row.id, row.metric) for row in kept}
    for row in kept:
        if (row.id, row.metric) not in doubt:
            assert after[row.id, row.metric] == row


@given(rows, rows)
def test_nothing_blocks_that_the_duel_found_otherwise_and_nothing_new_blocks_by_it_alone(kept, live):
    found = {(row.id, row.metric): row for row in live if row.verdict in DECIDED}
    for row in confirm(kept, live, "1a2b3c4"):
        key = (row.id, row.metric)
        if key in doubtful(kept) and key in found:
            assert row.action is found[key].action


@pytest.mark.parametrize("live", [Verdict.EQUIVALENT, Verdict.IMPROVED, Verdict.SLOWER])
def test_a_disagreement_is_told_as_the_environments(live):
    row = decided(a_row(Verdict.REGRESSED), a_row(live))
    assert (row.verdict, row.action) == (live, None)
    assert row.reason == "live at 1a2b3c4: environment, not code: kept runs say regressed, live it is so"


def test_an_agreement_blocks_and_is_told():
    row = decided(a_row(Verdict.REGRESSED), a_row(Verdict.REGRESSED))
    assert (row.action, row.reason) == (Action.BLOCK, "live at 1a2b3c4: it is so; kept runs say so too")


def test_a_duel_that_cannot_tell_does_not_block():
    row = decided(a_row(Verdict.REGRESSED), a_row(Verdict.INCONCLUSIVE))
    assert (row.verdict, row.action) == (Verdict.INCONCLUSIVE, None)


@pytest.mark.parametrize("live", [Verdict.ERRORED, Verdict.UNMEASURED, Verdict.NEW, Verdict.MISSING, None])
def test_a_duel_without_a_result_leaves_the_kept_verdict_and_says_why(live):
    kept = a_row(Verdict.REGRESSED)
    row = decided(kept, a_row(live) if live else None)
    assert msgspec.structs.replace(row, reason="") == msgspec.structs.replace(kept, reason="")
    assert row.reason.startswith("it is so; not confirmed live: ")


def test_a_case_that_failed_in_the_duel_speaks_for_its_metrics():
    failed = a_row(Verdict.ERRORED, metric=None, reason="its test fails at the merge base")
    assert decided(a_row(Verdict.INCONCLUSIVE), failed).reason.endswith("its test fails at the merge base")


@pytest.mark.parametrize(
    "row",
    [
        a_row(Verdict.REGRESSED, action=Action.WARN),
        a_row(Verdict.EQUIVALENT, action=Action.BLOCK, limit=0.5),
        a_row(Verdict.INCONCLUSIVE, threshold=None),
        a_row(Verdict.MISSING, metric=None, action=Action.BLOCK),
        a_row(Verdict.MISSING, candidate=None, action=Action.BLOCK),
        a_row(Verdict.SLOWER),
    ],
)
def test_warnings_limits_and_absences_need_no_duel(row):
    assert doubtful([row]) == frozenset()
