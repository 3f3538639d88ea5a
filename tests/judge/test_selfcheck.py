"""Gates of unchanged code summed up: every alarm is counted as false, and what is promised follows from the spread."""

from __future__ import annotations

import dataclasses
import math
import statistics
from types import MappingProxyType

import pytest

from pytest_supervm.judge import power
from pytest_supervm.judge.power import Rules
from pytest_supervm.judge.selfcheck import Outcome, Terms, extra_work, smallest, sum_up
from pytest_supervm.model import Verdict

PAY, SLOW, LATENCY = ("test_pay", "throughput"), ("test_slow", "throughput"), ("test_pay", "latency_p99")
TERMS = Terms({PAY: math.log(1.05), SLOW: math.log(1.1), LATENCY: math.log(1.1)}, 0.01)
QUIET = {PAY: Verdict.EQUIVALENT, SLOW: Verdict.EQUIVALENT, LATENCY: Verdict.INCONCLUSIVE}
EFFECTS = {
    PAY: [0.01, -0.01, 0.004, 0.0, 0.002, -0.006],
    SLOW: [0.02, -0.01, 0.01, 0.0, 0.003, -0.01],
    LATENCY: [1.5, -1.5, 0.7, -0.9, 2.0, 0.1],
}


def a_gate(verdicts=MappingProxyType({}), **fields):
    return Outcome(
        **{
            "seconds": 12.0,
            "budget": 60.0,
            "launches": 6,
            "family": 3,
            "verdicts": QUIET | verdicts,
            "effects": EFFECTS,
            "troubles": {},
            "extra": {},
            **fields,
        }
    )


def with_extra(share, verdict=Verdict.SLOWER):
    return a_gate({PAY: verdict, SLOW: verdict}, extra={"test_pay": share, "test_slow": share})


def a_gate_over_nothing(**fields):
    return dataclasses.replace(a_gate(), verdicts={}, effects={}, family=0, launches=1, **fields)


def checked(gates, confirmed=None):
    summed = sum_up(gates, confirmed, TERMS)
    return summed, {(one.id, one.metric): one for one in summed.cases}


def test_alarms_are_counted_by_gate_and_by_pair_and_improvements_apart():
    gates = [
        a_gate({PAY: Verdict.REGRESSED, SLOW: Verdict.SLOWER}),
        a_gate({PAY: Verdict.SLOWER}),
        a_gate({SLOW: Verdict.IMPROVED}),
        a_gate(),
    ]
    whole, by_pair = checked(gates)
    assert (whole.gates, whole.alarms, whole.improved) == (4, 2, 1)
    assert whole.alarm_rate == power.exact(2, 4)
    assert [(by_pair[key].alarms, by_pair[key].improved) for key in (PAY, SLOW, LATENCY)] == [(2, 0), (1, 1), (0, 0)]
    assert by_pair[LATENCY].inconclusive == 4
    assert by_pair[SLOW].alarm_rate == power.exact(1, 4)


def test_a_pair_that_some_gates_did_not_judge_is_rated_by_the_others():
    without = Outcome(12.0, 60.0, 6, 1, {PAY: Verdict.EQUIVALENT}, {PAY: EFFECTS[PAY]}, {}, {})
    _, by_pair = checked([a_gate(), without, without])
    assert (by_pair[PAY].gates, by_pair[SLOW].gates) == (3, 1)
    assert by_pair[SLOW].alarm_rate == power.exact(0, 1)


def test_what_is_told_follows_from_all_launch_pairs_the_family_and_the_launches_that_the_budget_allows():
    other = {**EFFECTS, PAY: [0.03, -0.03, 0.02, -0.02, 0.01, -0.01]}
    whole, by_pair = checked([a_gate(), a_gate(effects=other, seconds=36.0)])
    assert whole.launches == 15, "12 launch pairs took 48 s, and the budget is 60 s"
    assert (whole.family.size, whole.family.level) == (3, 0.01)
    pay = by_pair[PAY]
    assert pay.launches == 12
    assert pay.spread == statistics.stdev([*EFFECTS[PAY], *other[PAY]])
    assert pay.smallest == power.smallest(pay.spread, Rules(TERMS.thresholds[PAY], 3, 0.01, 15))
    assert by_pair[LATENCY].smallest is None, "launch pairs that differ fourfold tell nothing"


def test_extra_work_is_asked_for_only_where_blocks_carry_it():
    visible = smallest([a_gate()], TERMS)
    assert extra_work(visible) == {
        "test_pay": pytest.approx(math.expm1(visible[PAY])),
        "test_slow": pytest.approx(math.expm1(visible[SLOW])),
    }
    both = {PAY: 0.1, ("test_pay", "cpu_time"): 0.2, LATENCY: 0.3, SLOW: None}
    assert extra_work(both) == {"test_pay": math.expm1(0.2)}, "what both are said to tell"


@pytest.mark.parametrize(("verdict", "caught"), [(Verdict.SLOWER, True), (Verdict.EQUIVALENT, False)])
def test_extra_work_that_was_really_done_is_told_or_missed(verdict, caught):
    wanted = extra_work(smallest([a_gate()], TERMS))["test_pay"]
    whole, by_pair = checked([a_gate()], with_extra(1.2 * wanted, verdict))
    assert by_pair[PAY].extra == pytest.approx(math.log1p(1.2 * wanted))
    assert by_pair[PAY].caught is caught
    assert by_pair[PAY].remark is None
    assert (whole.gates, whole.alarms) == (1, 0), "the gate with extra work is none of unchanged code"


@pytest.mark.parametrize(
    ("confirmed", "said"),
    [
        (None, "not played to its end"),
        (with_extra(1.0), "too coarse to confirm: a block has so few calls that one more is 100% more work"),
        (a_gate_over_nothing(troubles={"test_pay": "its test failed"}), "its test failed"),
        (a_gate_over_nothing(), "did not judge it"),
    ],
)
def test_why_extra_work_confirms_nothing_is_said(confirmed, said):
    _, by_pair = checked([a_gate()], confirmed)
    assert (by_pair[PAY].extra, by_pair[PAY].caught) == (None, None)
    assert said in by_pair[PAY].remark
    assert "do not show in this metric" in by_pair[LATENCY].remark


def test_a_case_that_fell_out_and_a_check_that_judged_nothing_are_named():
    whole, _ = checked([a_gate(), a_gate(troubles={"test_pay": "its test failed: no"})])
    assert whole.notes == ("test_pay was not checked to the end: its test failed: no",)
    nothing, by_pair = checked([a_gate_over_nothing()] * 3)
    assert (nothing.gates, nothing.alarms, by_pair) == (3, 0, {})
    assert nothing.notes[0].startswith("3 of 3 gates judged nothing")
