"""Change points: found where they were planted, never claimed where nothing changed, and the same to every reader."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from pytest_supervm.judge import changes
from pytest_supervm.judge.changes import FALSE_SHARE, FEWEST_RUNS, SHORTEST, clearest, find, segments
from pytest_supervm.judge.family import cut_off
from pytest_supervm.model import Commit, Metric

from .situations import ELSEWHERE, FAILURES, HERE, LATENCY, THROUGHPUT, a_case, a_figure, a_run

CASE = "test_x.py::test_a"
WANTED = {CASE: [LATENCY.name]}
LEVEL = 0.01
HISTORIES = 1000


def history(values, *, metric=LATENCY, test="test_a", more=(), **fields):
    """A run for each value, of commits that are told by their first two digits."""
    runs = []
    for number, value in enumerate(values):
        cases = [
            a_case(test, a_figure(value, metric)),
            *(a_case(name, a_figure(v[number], metric)) for name, v in more),
        ]
        run = a_run(*cases, number=number)
        runs.append(msgspec.structs.replace(run, commit=Commit(f"{number:02}{'c' * 38}", dirty=False), **fields))
    return runs


def noisy(*levels, spread=0.01, seed=1):
    """A positive value for each level of a logarithm, with noise."""
    return list(np.exp(np.array(levels) + np.random.default_rng(seed).normal(0, spread, len(levels))))


STEP = [0.0] * 12 + [0.1] * 8


def test_a_step_is_found_with_the_commits_on_either_side():
    found = find(history(noisy(*STEP)), WANTED)
    (point,) = found.points
    assert (point.index, point.age, point.runs, point.commits, point.remark) == (12, 8, (12, 8), "11ccccc..12ccccc", "")
    assert (point.last.run, point.first.run) == ("20260131T120011Z-0", "20260131T120012Z-0")
    assert point.effect == pytest.approx(0.1, abs=0.02)
    assert point.effect == pytest.approx(math.log(point.after / point.before))
    assert point.p_value < 0.001
    assert (found.series, found.short, found.zero) == (1, 0, 0)


def test_a_regression_that_was_mended_is_two_changes():
    points = find(history(noisy(*[0.0] * 9, *[0.08] * 5, *[0.0] * 9)), WANTED).points
    assert [point.index for point in points] == [9, 14]
    assert points[0].effect > 0 > points[1].effect


def test_every_step_of_a_staircase_is_found():
    points = find(history(noisy(*(0.1 * (at // 10) for at in range(40)))), WANTED).points
    assert [point.index for point in points] == [10, 20, 30]


def test_a_fall_of_what_should_be_high_is_a_change_for_the_worse():
    (point,) = find(history(noisy(*(-level for level in STEP)), metric=THROUGHPUT), {CASE: ["throughput"]}).points
    assert point.effect > 0
    assert point.after < point.before


@given(st.lists(st.floats(-0.2, 0.2), min_size=6, max_size=16), st.sampled_from([1e-9, 0.37, 1e3, 7e12]))
@settings(max_examples=40, deadline=None)
def test_units_and_direction_do_not_matter(logs, unit):
    values = [math.exp(value) for value in logs]
    here, there, mirrored = (
        clearest([math.log(scale * value) * sign for value in values])
        for scale, sign in ((1.0, 1), (unit, 1), (1.0, -1))
    )
    assert here == there
    assert here == mirrored


def test_the_order_of_cases_does_not_matter():
    runs = history(noisy(*STEP), more=[("test_b", noisy(*[0.0] * 20, seed=2)), ("test_c", noisy(*STEP[::-1], seed=3))])
    wanted = [f"test_x.py::test_{name}" for name in "abc"]
    there = find(runs, {case: [LATENCY.name] for case in wanted})
    turned = [msgspec.structs.replace(run, cases=run.cases[::-1]) for run in runs]
    back = find(turned, {case: [LATENCY.name] for case in reversed(wanted)})
    assert {point.id for point in there.points} == {wanted[0], wanted[2]}
    assert sorted(there.points, key=lambda point: point.id) == sorted(back.points, key=lambda point: point.id)


@given(st.lists(st.floats(-1, 1), max_size=FEWEST_RUNS - 1))
@settings(max_examples=20, deadline=None)
def test_a_short_history_shows_nothing_and_is_counted(logs):
    found = find(history([math.exp(value) for value in logs]), WANTED)
    assert (found.points, found.series, found.short) == ((), 0, int(bool(logs)))
    assert found.fewest == FEWEST_RUNS


@pytest.mark.parametrize("length", [1, FEWEST_RUNS, 40])
def test_a_constant_history_shows_nothing(length):
    assert find(history([0.003] * length), WANTED).points == ()


def test_a_change_below_a_percent_is_not_worth_a_word():
    assert find(history([1.0] * 10 + [1.009] * 10), WANTED).points == ()
    assert len(find(history([1.0] * 10 + [1.011] * 10), WANTED).points) == 1


def test_two_runs_far_out_are_bad_luck():
    values = noisy(*[0.0] * 20)
    values[7] *= 3
    values[15] *= 3
    assert find(history(values), WANTED).points == ()


def test_no_change_is_claimed_across_another_machine_or_other_settings():
    old, new = history(noisy(*[0.0] * 12)), history(noisy(*[0.5] * 12, seed=2))
    late = [msgspec.structs.replace(run, id=f"2027{run.id}") for run in new]
    assert len(find([*old, *late], WANTED).points) == 1

    moved = [msgspec.structs.replace(run, machine=ELSEWHERE) for run in old]
    found = find([*moved, *late], WANTED)
    assert (found.points, found.series) == ((), 1)

    hasty = [msgspec.structs.replace(run, settings={"time": "0.1"}) for run in old]
    found = find([*hasty, *late], WANTED)
    assert (found.points, found.series) == ((), 2)


def test_runs_of_other_machines_in_between_do_not_cut():
    mixed = history(noisy(*STEP))
    visitors = [
        msgspec.structs.replace(run, id=f"{run.id}-x", machine=ELSEWHERE) for run in history(noisy(*STEP, seed=5))
    ]
    both = [run for pair in zip(visitors, mixed, strict=True) for run in pair]
    assert both[-1].machine == HERE
    assert find(both, WANTED) == find(mixed, WANTED)


def test_a_metric_that_came_to_mean_something_else_is_another_series():
    runs = [
        *history(noisy(*[0.0] * 12), metric=Metric(LATENCY.name, "op", "lower")),
        *history(noisy(*[0.4] * 12), time="2027-01-31T12:00:00Z"),
    ]
    assert find(runs, WANTED).points == ()


def test_a_value_of_zero_leaves_its_series_out_and_says_so():
    values = noisy(*STEP)
    values[3] = 0.0
    found = find(history(values, metric=FAILURES), {CASE: [FAILURES.name]})
    assert (found.points, found.series, found.zero) == ((), 0, 1)


@pytest.mark.parametrize(
    ("last", "first", "commits", "said"),
    [
        (None, Commit("b" * 40, dirty=False), None, "the run before the change knows no commit"),
        (Commit("a" * 40, dirty=False), None, None, "the run after the change knows no commit"),
        (Commit("a" * 40, dirty=False), Commit("b" * 40, dirty=True), "aaaaaaa..bbbbbbb", "uncommitted changes"),
        (Commit("a" * 40, dirty=False), Commit("a" * 40, dirty=False), "aaaaaaa..aaaaaaa", "environment changed"),
    ],
)
def test_what_is_doubtful_about_the_commits_is_said(last, first, commits, said):
    runs = history(noisy(*STEP))
    runs[11] = msgspec.structs.replace(runs[11], commit=last)
    runs[12] = msgspec.structs.replace(runs[12], commit=first)
    (point,) = find(runs, WANTED).points
    assert point.commits == commits
    assert said in point.remark


NOISE = {
    "normal": lambda rng, n: rng.normal(0, 0.02, n),
    "heavy-tailed": lambda rng, n: 0.01 * rng.standard_t(1.5, n),
    "skewed": lambda rng, n: 0.02 * rng.pareto(1.5, n),
    "tied": lambda rng, n: np.round(rng.normal(0, 0.02, n) / 0.03) * 0.03,
}


@pytest.mark.parametrize("noise", NOISE)
def test_a_history_without_changes_shows_some_no_more_often_than_promised(noise):
    rng = np.random.default_rng(11)
    found = 0
    for at in range(HISTORIES):
        p_value, _ = clearest(list(NOISE[noise](rng, FEWEST_RUNS + at % 10)))
        found += p_value <= FALSE_SHARE
    assert found <= binom.ppf(0.999, HISTORIES, FALSE_SHARE)


def test_without_shuffling_the_promise_is_broken(monkeypatch):
    """A p-value from the tables of a single step, chosen after looking, would cry wolf."""
    monkeypatch.setattr(changes, "_p_value", lambda values, gain: math.erfc(math.sqrt(gain / values.var() / 2)))
    rng = np.random.default_rng(11)
    found = sum(clearest(list(rng.normal(0, 0.02, 15)))[0] <= FALSE_SHARE for _ in range(HISTORIES))
    assert found > binom.ppf(0.999, HISTORIES, FALSE_SHARE)


@given(st.integers(6, 24), st.integers(6, 24), st.sampled_from([-1, 1]), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_a_planted_step_of_eight_spreads_is_found_where_it_is(before, after, sign, seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 0.01, before + after)
    values[before:] += sign * 0.08
    assert before in segments(list(values), LEVEL)


@given(st.lists(st.sampled_from([0.0, 0.1, 0.2]), min_size=0, max_size=30))
@settings(max_examples=25, deadline=None)
def test_no_part_is_shorter_than_the_shortest(values):
    places = list(segments(values, 0.2))
    assert places == sorted(set(places))
    assert all(
        end - start >= SHORTEST for start, end in zip([0, *places], [*places, len(values)], strict=True) if places
    )


@given(st.lists(st.floats(0.0001, 1), min_size=1, max_size=40), st.sampled_from([0.01, 0.05, 0.2]))
def test_the_cut_off_is_the_largest_level_that_enough_finds_reach(p_values, share):
    level = cut_off(p_values, share)
    found = sum(p <= level for p in p_values)
    assert level <= share * (1 + 1e-12)
    assert level == pytest.approx(share * found / len(p_values)) or found == 0 == level
    assume(len(set(p_values)) == len(p_values))
    more = sorted(p_values)[found:]
    assert all(p > share * (found + k) / len(p_values) for k, p in enumerate(more, 1))


def test_many_series_without_changes_rarely_show_any():
    rng = np.random.default_rng(5)
    alarms = 0
    for _ in range(40):
        p_values = [clearest(list(rng.normal(0, 0.02, 14)))[0] for _ in range(12)]
        alarms += cut_off(p_values, FALSE_SHARE) > 0
    assert alarms <= binom.ppf(0.999, 40, FALSE_SHARE)
