"""A run against kept runs, by situation."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_supervm.judge import gate
from pytest_supervm.judge.coverage import Selection
from pytest_supervm.judge.stored import judge
from pytest_supervm.model import Action, Gate, History, Metric, Series, Verdict

from .situations import (
    ELSEWHERE,
    FAILURES,
    HERE,
    HITS,
    LATENCY,
    THROUGHPUT,
    a_case,
    a_figure,
    a_run,
    by_case,
    judged,
    kept,
    only,
    passed,
    policies,
    unmeasured,
)

PAY = a_case("test_pay", a_figure(1000))
MINT = a_case("test_mint", a_figure(500))


def paying(value: float, metric: Metric = THROUGHPUT):
    return a_run(a_case("test_pay", a_figure(value, metric)))


def gate_over(judgement, baseline="main"):
    return gate.decide(judgement[0], baseline=baseline)


@pytest.mark.parametrize(
    ("value", "verdict", "action", "reason"),
    [
        (800, Verdict.REGRESSED, Action.BLOCK, "worse, and by more than the threshold of 15 %"),
        (900, Verdict.REGRESSED, Action.WARN, "worse, and by more than the threshold of 5 %"),
        (1000, Verdict.EQUIVALENT, None, "no change beyond the threshold of 5 %"),
        (1200, Verdict.IMPROVED, None, "better, and by more than the threshold of 5 %"),
    ],
)
def test_ten_kept_runs_decide(value, verdict, action, reason):
    row = only(judged(paying(value), kept(PAY)))
    assert (row.verdict, row.action, row.reason) == (verdict, action, reason)
    low, high = row.interval
    assert low < row.effect < high
    assert row.effect == pytest.approx(-math.log(value / 1000), abs=0.002)
    assert row.launches == 11


def test_slower_never_warns():
    wide = only(judged(paying(930), kept(PAY), {"throughput": {"warn": "8%", "block": "off"}}))
    assert (wide.verdict, wide.action) == (Verdict.SLOWER, None)
    assert wide.reason == "worse beyond doubt, but by less than the threshold of 8 %"
    assert gate.gate_of(wide) is Gate.PASS


def test_a_threshold_that_warns_never_blocks():
    row = only(judged(paying(300), kept(PAY), {"throughput": {"block": "off"}}))
    assert row.action is Action.WARN


def test_without_a_policy_nothing_regresses_and_the_gate_does_not_care():
    rows, family = judged(
        a_run(a_case("test_pay", a_figure(1000), a_figure(0.5, HITS))),
        kept(a_case("test_pay", a_figure(1000), a_figure(0.9, HITS))),
    )
    hits = by_case(rows)["test_pay", "cache_hit_rate"]
    assert (hits.verdict, hits.action, hits.threshold) == (Verdict.SLOWER, None, None)
    assert hits.confidence == 0.99
    assert family.size == 1
    assert gate.decide(rows, baseline="main")[0] is Gate.PASS


def test_the_family_counts_pairs_with_a_relative_policy_and_shares_the_level():
    cases = [a_case(f"test_{number}", a_figure(1000), a_figure(0.01, LATENCY)) for number in range(3)]
    rows, family = judged(a_run(*cases), kept(*cases))
    assert (family.size, family.level) == (6, 0.01)
    assert {row.confidence for row in rows} == {1 - 0.01 / 6}


def test_one_kept_run_tells_nothing_and_says_how_many_would():
    row = only(judged(paying(100), kept(PAY, runs=1)))
    assert (row.verdict, row.interval, row.action) == (Verdict.INCONCLUSIVE, None, None)
    assert row.reason == "1 kept run does not show how runs differ; 5 kept runs would do if they differ by 1.0 %"
    assert row.effect == pytest.approx(math.log(10))
    assert gate_over(judged(paying(100), kept(PAY, runs=1)))[0] is Gate.INCONCLUSIVE


def test_few_kept_runs_that_differ_say_how_many_would_do():
    row = only(judged(paying(1000), kept(PAY, runs=3)))
    assert row.verdict is Verdict.INCONCLUSIVE
    assert (
        row.reason == "the interval is too wide for the threshold of 5 %; runs differ by 1.0 %, so 5 kept runs would do"
    )


def test_runs_that_differ_too_much_say_that_no_number_would_do():
    noisy = [a_run(a_case("test_pay", a_figure(value)), number=at) for at, value in enumerate((600, 1000, 1500, 900))]
    row = only(judged(paying(1000), History("main", tuple(noisy))))
    assert row.verdict is Verdict.INCONCLUSIVE
    assert row.reason.endswith(
        "; runs differ by 37.7 %, so not even 100 kept runs would do: steady the machine, measure longer or allow more"
    )


def test_a_change_near_the_threshold_asks_for_no_more_runs():
    row = only(judged(paying(964), kept(PAY)))
    assert row.verdict is Verdict.INCONCLUSIVE
    assert row.reason.endswith("the change is too near the threshold to call")


def test_another_machine_shows_both_figures_and_never_blocks():
    judgement = judged(paying(10), kept(PAY, machine=ELSEWHERE))
    row = only(judgement)
    assert row.verdict is Verdict.INCONCLUSIVE
    assert row.reason == "other machine"
    assert (row.candidate, row.interval, row.action, row.launches) == (10, None, None, 1)
    assert row.baseline == pytest.approx(1000, rel=0.01)
    assert gate_over(judgement)[0] is Gate.INCONCLUSIVE


def test_runs_of_another_machine_do_not_join_those_of_this_one():
    here = kept(PAY)
    slow = kept(a_case("test_pay", a_figure(10)), machine=ELSEWHERE, first=20)
    mixed = History("main", (*here.runs, *slow.runs))
    assert judged(paying(1000), mixed) == judged(paying(1000), here)


def test_what_the_baseline_lacks_is_new_and_a_gate_over_nothing_blocks():
    judgement = judged(a_run(MINT), kept(PAY), selection=Selection(scope=("test_y.py",)))
    rows = by_case(judgement[0])
    assert rows["test_mint", "throughput"].verdict is Verdict.NEW
    assert rows["test_mint", "throughput"].reason == "the baseline lacks this case"
    assert rows["test_pay", None].verdict is Verdict.NOT_SELECTED
    verdict, reason = gate_over(judgement)
    assert verdict is Gate.BLOCK
    assert reason.startswith("nothing was judged: ")


def test_a_metric_that_the_baseline_lacks_is_new():
    row = by_case(judged(a_run(a_case("test_pay", a_figure(1000), a_figure(0.01, LATENCY))), kept(PAY))[0])
    assert row["test_pay", "latency_p99"].verdict is Verdict.NEW
    assert row["test_pay", "latency_p99"].reason == "the baseline has no value of this metric"


def test_a_metric_that_changed_its_meaning_is_not_compared():
    row = only(judged(paying(1000, Metric("throughput", "block/s", "higher")), kept(PAY)))
    assert (row.verdict, row.baseline) == (Verdict.NEW, None)
    assert "(tx/s, higher is better)" in row.reason


def test_a_metric_that_a_test_no_longer_records_blocks():
    before = kept(a_case("test_pay", a_figure(1000), a_figure(0.001, FAILURES), a_figure(0.9, HITS)))
    judgement = judged(paying(1000), before, {"failure_rate": {"limit": "1%"}})
    rows = by_case(judgement[0])
    lost = rows["test_pay", "failure_rate"]
    assert (lost.verdict, lost.action, lost.candidate) == (Verdict.MISSING, Action.BLOCK, None)
    assert ("test_pay", "cache_hit_rate") not in rows, "no policy asks for it"
    assert gate_over(judgement) == (Gate.BLOCK, "1 missing")
    accepted = History("main", (*before.runs, *kept(PAY, runs=1, first=50).runs))
    assert gate_over(judged(paying(1000), accepted, {"failure_rate": {"limit": "1%"}}))[0] is Gate.PASS


@pytest.mark.parametrize(
    ("selection", "verdict", "reason"),
    [
        (Selection(), Verdict.MISSING, "no longer exists"),
        (Selection(scope=("test_x.py",)), Verdict.MISSING, "no longer exists"),
        (Selection(scope=("test_y.py", "sub")), Verdict.NOT_SELECTED, "not told to search test_x.py"),
        (Selection(scope=("test_x",)), Verdict.NOT_SELECTED, "not told to search test_x.py"),
        (Selection(scope=()), Verdict.NOT_SELECTED, "not told to search test_x.py"),
        (Selection(deselected=frozenset({PAY.nodeid})), Verdict.NOT_SELECTED, "left it out"),
        (Selection(whole=False), Verdict.NOT_SELECTED, "--lf"),
        (Selection(errors=frozenset({"test_x.py"})), Verdict.ERRORED, "could not be collected"),
        (Selection(outcomes={PAY.nodeid: "failed"}), Verdict.ERRORED, "its test failed"),
        (Selection(outcomes={PAY.nodeid: "not run"}), Verdict.ERRORED, "stopped before"),
        (Selection(outcomes={PAY.nodeid: "skipped"}), Verdict.MISSING, "skipped"),
        (Selection(outcomes={PAY.nodeid: "passed"}), Verdict.MISSING, "did not measure this case"),
        (Selection(outcomes={PAY.nodeid: "passed"}, whole=False), Verdict.MISSING, "did not measure this case"),
    ],
)
def test_a_case_that_was_not_measured_is_told_by_why(selection, verdict, reason):
    rows = by_case(judged(a_run(MINT), kept(PAY, MINT), selection=selection)[0])
    row = rows["test_pay", None]
    assert row.verdict is verdict
    assert reason in row.reason
    assert (row.action is Action.BLOCK) == (verdict is Verdict.MISSING)
    expected = {Verdict.MISSING: Gate.BLOCK, Verdict.ERRORED: Gate.INCONCLUSIVE, Verdict.NOT_SELECTED: Gate.PASS}
    assert gate.decide(tuple(rows.values()), baseline="main")[0] is expected[verdict]


def test_a_renamed_file_is_missing_and_new():
    moved = a_case("test_pay", a_figure(1000), file="test_new.py")
    rows, _ = judged(a_run(moved), kept(PAY))
    assert [(row.id, row.verdict) for row in rows] == [
        ("test_x.py::test_pay", Verdict.MISSING),
        ("test_new.py::test_pay", Verdict.NEW),
    ]


def test_other_features_of_the_same_test_are_another_case():
    flagged = a_case("test_pay", a_figure(1000), features=("fast", "safe"))
    rows, _ = judged(a_run(PAY), kept(flagged))
    assert {row.id: row.verdict for row in rows} == {
        "test_x.py::test_pay {fast,safe}": Verdict.MISSING,
        "test_x.py::test_pay": Verdict.NEW,
    }
    assert rows[0].reason == "its test ran and did not measure this case"


def test_a_removal_that_was_saved_is_accepted():
    history = History("main", (*kept(PAY, MINT).runs, a_run(MINT, number=50)))
    rows, _ = judged(a_run(MINT), history)
    assert [row.id for row in rows] == [MINT.id]


@pytest.mark.parametrize("damaged", [1, 3])
def test_a_baseline_of_damaged_lines_only_blocks(damaged):
    judgement = judged(paying(1000), History("main", (), kept(damaged=damaged).damaged))
    assert gate_over(judgement)[0] is Gate.BLOCK
    row = only(judgement)
    assert row.verdict is Verdict.INCONCLUSIVE
    lines = "1 line" if damaged == 1 else f"{damaged} lines"
    assert row.reason == f"what can be read of the baseline lacks this case, but {lines} of it cannot be read"


def test_damaged_lines_do_not_let_a_gate_pass_whose_limits_hold():
    history = History("main", (), kept(damaged=2).damaged)
    judgement = judged(paying(1000), history, {"throughput": {"limit": "900"}})
    assert gate_over(judgement)[0] is Gate.INCONCLUSIVE


def test_a_damaged_line_beside_enough_sound_ones_changes_no_verdict():
    assert judged(paying(800), kept(PAY, damaged=1)) == judged(paying(800), kept(PAY))


def test_an_unmeasured_metric_is_named_and_the_gate_cannot_tell():
    case = a_case("test_pay", unmeasured(), a_figure(0.01, LATENCY))
    judgement = judged(a_run(case), kept(a_case("test_pay", a_figure(1000), a_figure(0.01, LATENCY))))
    row = by_case(judgement[0])["test_pay", "throughput"]
    assert (row.verdict, row.reason, row.candidate) == (Verdict.UNMEASURED, "the clock is too coarse", None)
    assert row.baseline == pytest.approx(1000, rel=0.01)
    assert gate_over(judgement) == (Gate.INCONCLUSIVE, "1 unmeasured")


def test_a_case_of_which_nothing_was_measured_is_one_row():
    rows, family = judged(a_run(a_case("test_pay", unmeasured(), unmeasured(LATENCY)), MINT), kept(PAY, MINT))
    row = by_case(rows)["test_pay", None]
    assert (row.verdict, row.reason) == (Verdict.UNMEASURED, "the clock is too coarse")
    assert family.size == 1
    assert only(judged(a_run(a_case("test_pay")), None)).reason == "nothing was measured"


def test_zero_on_both_sides_is_equivalent_and_a_new_zero_has_no_ratio():
    table = {"failure_rate": {"block": "10%"}}
    none_failed = kept(a_case("test_pay", a_figure(0, FAILURES)), runs=3)
    same = only(judged(paying(0, FAILURES), none_failed, table))
    assert (same.verdict, same.reason) == (Verdict.EQUIVALENT, "zero on both sides")
    for value in (0.5, -0.5):
        row = only(judged(paying(value, FAILURES), none_failed, table))
        assert row.verdict is Verdict.INCONCLUSIVE
        assert row.reason == "a value of zero or below has no ratio: give this metric a limit instead"
        assert (row.effect, row.interval) == (None, None)
    negative = only(judged(paying(-1, FAILURES), kept(a_case("test_pay", a_figure(-1, FAILURES)), runs=2), table))
    assert negative.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("history", [None, kept(PAY)], ids=["without a baseline", "with a baseline"])
@pytest.mark.parametrize(
    ("value", "limit", "action"), [(1000, "1000.1", Action.BLOCK), (1000, "1000", None), (1000, "999", None)]
)
def test_a_limit_is_a_lower_bound_where_higher_is_better(history, value, limit, action):
    row = only(judged(paying(value), history, {"throughput": {"limit": limit}}))
    assert row.action is action
    assert row.limit == float(limit)
    assert (" is below its limit of 1000 tx/s" in row.reason) == (action is Action.BLOCK) or limit == "1000.1"


def test_a_limit_is_an_upper_bound_where_lower_is_better():
    table = {"latency_p99": {"limit": "100 ms"}}
    over, at, under = (only(judged(paying(value, LATENCY), None, table)) for value in (0.15, 0.1, 0.05))
    assert (over.action, over.reason) == (Action.BLOCK, "150 ms is over its limit of 100 ms")
    assert at.action is under.action is None


def test_a_broken_limit_blocks_even_on_another_machine_or_beside_an_improvement():
    table = {"latency_p99": {"limit": "100 ms"}}
    for machine in (HERE, ELSEWHERE):
        history = kept(a_case("test_pay", a_figure(0.3, LATENCY)), machine=machine)
        judgement = judged(paying(0.15, LATENCY), history, table)
        assert gate_over(judgement) == (Gate.BLOCK, "1 beyond a limit")


def test_without_a_baseline_only_limits_are_judged():
    judgement = judged(a_run(a_case("test_pay", a_figure(1000), a_figure(0, FAILURES))), None)
    assert {row.reason for row in judgement[0]} == {"no baseline was named"}
    assert gate_over(judgement, None) == (
        Gate.PASS,
        "nothing was judged: no baseline was named and no measured metric has a limit",
    )
    limited = judged(paying(0, FAILURES), None, {"failure_rate": {"limit": "0.1%"}})
    assert only(limited).reason == "within its limit of 0.00100"
    assert gate_over(limited, None) == (Gate.PASS, "1 figure judged, none beyond its policy")


def test_a_limit_without_a_figure_does_not_pass():
    case = a_case("test_pay", a_figure(1000), unmeasured(LATENCY))
    judgement = judged(a_run(case), None, {"latency_p99": {"limit": "100 ms"}})
    assert gate_over(judgement, None) == (Gate.INCONCLUSIVE, "nothing was judged: 1 figure could not be measured")


def test_a_marker_overrides_for_its_test_alone():
    run = a_run(a_case("test_pay", a_figure(900)), a_case("test_mint", a_figure(450)))
    strict, plain = policies(marker={"throughput": {"block": "3%"}}), policies()
    rows, _ = judge(run, kept(PAY, MINT), {PAY.id: strict, MINT.id: plain}, passed(*run.cases), 0.01)
    assert {row.id: row.action for row in rows} == {PAY.id: Action.BLOCK, MINT.id: Action.WARN}
    assert rows[0].reason == "worse, and by more than the threshold of 3 %"


def test_rows_stand_from_what_blocks_to_what_nobody_asked_for():
    tests = {"blocks": 800, "warns": 900, "same": 1000, "better": 1300}
    before = [a_case(f"test_{name}", a_figure(1000), a_figure(0.9, HITS)) for name in ("gone", *tests)]
    now = [a_case(f"test_{name}", a_figure(value), a_figure(0.4, HITS)) for name, value in tests.items()]
    new = a_case("test_new", a_figure(1))
    rows, _ = judged(a_run(new, *reversed(now)), kept(*before))
    assert [row.id.rpartition("_")[2] for row in rows[:6]] == ["blocks", "gone", "warns", "better", "new", "same"]
    assert [row.metric for row in rows[6:]] == ["cache_hit_rate"] * 4
    assert [row.id.rpartition("_")[2] for row in rows[6:]] == ["better", "same", "warns", "blocks"], (
        "ties keep the order"
    )


values = st.floats(0.5, 2)
tables = st.lists(st.lists(values, min_size=1, max_size=6), min_size=1, max_size=4)


def histories(table: list[list[float]], candidates: list[float], scale: float = 1.0, metric: Metric = LATENCY):
    """The newest run of the longest column first measured it; shorter columns belong to younger cases."""
    longest = max(map(len, table))
    runs = [
        a_run(
            *(
                a_case(f"test_{at}", a_figure(scale * column[number - longest + len(column)], metric))
                for at, column in enumerate(table)
                if number >= longest - len(column)
            ),
            number=number,
        )
        for number in range(longest)
    ]
    new = a_run(*(a_case(f"test_{at}", a_figure(scale * value, metric)) for at, value in enumerate(candidates)))
    return new, History("main", tuple(runs))


@given(tables, st.lists(values, min_size=4, max_size=4), st.sampled_from([2.0**-20, 2.0**30]))
@settings(deadline=None, max_examples=60)
def test_scaling_every_figure_changes_no_verdict_and_no_effect(table, candidates, scale):
    rows, _ = judged(*histories(table, candidates[: len(table)]))
    scaled, _ = judged(*histories(table, candidates[: len(table)], scale))
    for row, other in zip(rows, scaled, strict=True):
        assert (row.id, row.verdict, row.reason, row.action) == (other.id, other.verdict, other.reason, other.action)
        assert row.effect == pytest.approx(other.effect, abs=1e-9)


@given(tables, st.lists(values, min_size=4, max_size=4))
@settings(deadline=None, max_examples=60)
def test_the_order_of_cases_and_kept_runs_changes_nothing(table, candidates):
    new, history = histories(table, candidates[: len(table)])
    turned = a_run(*reversed(new.cases))
    back = History("main", tuple(reversed(history.runs)))
    one, other = by_case(judged(new, history)[0]), by_case(judged(turned, back)[0])
    assert one.keys() == other.keys()
    for key, row in one.items():
        assert (row.verdict, row.reason) == (other[key].verdict, other[key].reason)
        assert row.interval == pytest.approx(other[key].interval)


@given(tables, st.lists(values, min_size=4, max_size=4))
@settings(deadline=None, max_examples=60)
def test_a_rate_and_its_reciprocal_are_judged_alike(table, candidates):
    """Operations per second and seconds per operation are one fact; only the thresholds are written differently."""
    rate = {"throughput": {"warn": "off", "block": "50%"}}
    time = {"latency_p99": {"block": "100%"}}
    slow, _ = judged(*histories(table, candidates[: len(table)]), time)
    upside_down = [[1 / value for value in column] for column in table]
    fast, _ = judged(*histories(upside_down, [1 / value for value in candidates[: len(table)]], 1, THROUGHPUT), rate)
    for row, other in zip(slow, fast, strict=True):
        assert (row.id, row.verdict, row.action) == (other.id, other.verdict, other.action)
        assert row.effect == pytest.approx(other.effect, abs=1e-9)


@given(tables, st.lists(values, min_size=4, max_size=4), st.integers(0, 2), st.booleans())
@settings(deadline=None, max_examples=60)
def test_every_row_says_why_in_one_sentence_and_every_gate_too(table, candidates, damaged, limited):
    new, history = histories(table, candidates[: len(table)])
    history = History("main", history.runs, kept(damaged=damaged).damaged)
    judgement = judged(new, history, {"latency_p99": {"limit": "1 s"}} if limited else None)
    for reason in (*(row.reason for row in judgement[0]), gate_over(judgement)[1]):
        assert reason
        assert reason == reason.strip()
        assert not reason.endswith((".", ";", ":"))
        assert "None" not in reason


def test_a_series_without_launches_counts_as_unmeasured_even_without_a_reason():
    case = a_case("test_pay", Series(metric=THROUGHPUT), a_figure(1, LATENCY))
    row = by_case(judged(a_run(case), kept(PAY))[0])["test_pay", "throughput"]
    assert (row.verdict, row.reason) == (Verdict.UNMEASURED, "nothing was measured")


def test_a_case_of_which_nothing_was_measured_does_not_pass_without_a_baseline():
    case = a_case("test_pay", unmeasured(LATENCY))
    judgement = judged(a_run(case), None, {"latency_p99": {"limit": "100 ms"}})
    assert gate_over(judgement, None)[0] is Gate.INCONCLUSIVE
