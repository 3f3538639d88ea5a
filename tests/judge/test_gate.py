"""The whole suite's verdict out of its rows."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_supervm.judge.gate import decide, gate_of
from pytest_supervm.model import Action, Gate, Location, Row, Verdict

SAME = Row(
    id="test_x.py::test_y",
    location=Location("test_x.py", 1),
    verdict=Verdict.EQUIVALENT,
    reason="no change",
    metric="throughput",
    threshold=0.05,
    baseline=1.0,
    candidate=1.0,
)
UNASKED = msgspec.structs.replace(SAME, threshold=None)
UNSURE = msgspec.structs.replace(SAME, verdict=Verdict.INCONCLUSIVE)
WARNS = msgspec.structs.replace(SAME, verdict=Verdict.REGRESSED, action=Action.WARN)
BLOCKS = msgspec.structs.replace(WARNS, action=Action.BLOCK)
SLOWER = msgspec.structs.replace(SAME, verdict=Verdict.SLOWER)
OVER = msgspec.structs.replace(SAME, limit=0.5, action=Action.BLOCK)
MISSING = Row(id="a", location=SAME.location, verdict=Verdict.MISSING, reason="gone", action=Action.BLOCK)
ERRORED = Row(id="a", location=SAME.location, verdict=Verdict.ERRORED, reason="its test failed")
LEFT_OUT = Row(id="a", location=SAME.location, verdict=Verdict.NOT_SELECTED, reason="left out")
UNMEASURED = msgspec.structs.replace(SAME, verdict=Verdict.UNMEASURED, candidate=None)
NEW = msgspec.structs.replace(SAME, verdict=Verdict.NEW, baseline=None)
EVERY = [SAME, UNASKED, UNSURE, WARNS, BLOCKS, SLOWER, OVER, MISSING, ERRORED, LEFT_OUT, UNMEASURED, NEW]


@pytest.mark.parametrize(
    ("rows", "gate", "reason"),
    [
        ([SAME, SLOWER, LEFT_OUT], Gate.PASS, "2 figures judged, none beyond its policy"),
        ([SAME, UNSURE], Gate.INCONCLUSIVE, "1 inconclusive"),
        ([SAME, ERRORED, ERRORED], Gate.INCONCLUSIVE, "2 errored"),
        ([SAME, UNMEASURED], Gate.INCONCLUSIVE, "1 unmeasured"),
        ([SAME, UNSURE, WARNS], Gate.WARN, "1 regressed"),
        ([WARNS, BLOCKS, BLOCKS, MISSING, OVER], Gate.BLOCK, "2 regressed, 1 missing, 1 beyond a limit"),
        ([SAME, NEW], Gate.PASS, "1 figure judged, none beyond its policy"),
    ],
)
def test_the_gate_is_its_worst_row_and_counts_what_made_it(rows, gate, reason):
    assert decide(rows, baseline="main") == (gate, reason)


@pytest.mark.parametrize(
    "rows",
    [[], [NEW], [LEFT_OUT], [UNASKED], [UNMEASURED], [ERRORED], [msgspec.structs.replace(UNSURE, baseline=None)]],
)
def test_a_gate_over_nothing_is_closed(rows):
    verdict, reason = decide(rows, baseline="main")
    assert verdict is Gate.BLOCK
    assert "nothing was judged" in reason
    assert "'main'" in reason


def test_figures_that_nobody_asked_about_open_nothing_and_close_nothing():
    unsure = msgspec.structs.replace(UNASKED, verdict=Verdict.INCONCLUSIVE)
    assert gate_of(unsure) is gate_of(msgspec.structs.replace(UNASKED, verdict=Verdict.UNMEASURED)) is Gate.PASS
    assert decide([SAME, unsure], baseline="main")[0] is Gate.PASS


def test_an_unmeasured_figure_counts_only_where_something_could_have_been_judged():
    assert gate_of(UNMEASURED) is Gate.INCONCLUSIVE
    assert gate_of(msgspec.structs.replace(UNMEASURED, baseline=None)) is Gate.PASS
    assert gate_of(msgspec.structs.replace(UNMEASURED, baseline=None, limit=1.0)) is Gate.INCONCLUSIVE


@given(st.lists(st.sampled_from(EVERY)), st.sampled_from(EVERY))
def test_one_more_row_never_makes_a_judged_gate_better(rows, more):
    order = list(Gate)
    before = decide([SAME, *rows], baseline="main")[0]
    assert order.index(decide([SAME, *rows, more], baseline="main")[0]) >= order.index(before)


@given(st.lists(st.sampled_from(EVERY)))
def test_the_order_of_rows_does_not_matter(rows):
    assert decide(rows, baseline="main")[0] is decide(rows[::-1], baseline="main")[0]
