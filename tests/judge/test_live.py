"""Looks at launch pairs: what the level promises, and what the order and the direction of figures do not change."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from pytest_supervm.judge.live import LOOKS, SPREAD_FLOOR, Bout, Jury, effects, estimate, judge, one_busy_thread
from pytest_supervm.judge.policy import Policy
from pytest_supervm.model import Case, Location, Metric, Series, Verdict

LEVEL = 0.01
THRESHOLD = math.log(1.05)
HARMFUL = {Verdict.REGRESSED, Verdict.SLOWER}
MIRROR = {Verdict.REGRESSED: Verdict.IMPROVED, Verdict.IMPROVED: Verdict.REGRESSED}


def keys(cases):
    return [(f"test_{number}", "throughput") for number in range(cases)]


def tried(sample, level=LEVEL):
    """Hold all looks over log ratios of shape (cases, launches); only what is open sees the later ones."""
    jury = Jury(dict.fromkeys(keys(len(sample)), THRESHOLD), level)
    for look in LOOKS:
        jury.look({key: list(values[:look]) for key, values in zip(keys(len(sample)), sample, strict=True)})
    return jury


def alarms(draw, cases, gates, level):
    rng = np.random.default_rng(cases)
    found = (tried(draw(rng, (cases, LOOKS[-1])), level) for _ in range(gates))
    return sum(any(decision.rejected for decision in jury.decisions.values()) for jury in found)


def normal(rng, shape):
    return rng.normal(0, 0.02, shape)


def heavy(rng, shape):
    return 0.02 * rng.standard_t(3, shape)


def unequal(rng, shape):
    return rng.normal(0, np.exp(rng.uniform(math.log(0.002), math.log(0.1), (shape[0], 1))), shape)


def shared(rng, shape):
    return rng.normal(0, 0.02, (1, shape[1])) + rng.normal(0, 0.002, shape)


def tied(rng, shape):
    return 0.01 * np.round(rng.normal(0, 0.4, shape))


def drifting(rng, shape):
    """The machine's mood wanders: how much launch pairs differ grows and shrinks from each to the next."""
    return rng.normal(0, 0.02 * np.exp(np.cumsum(rng.normal(0, 0.2, shape), axis=1)))


def without_variance(rng, shape):
    """Most cases show the same figure on both sides, always; one in five varies."""
    return rng.normal(0, 0.02, shape) * (np.arange(shape[0])[:, None] % 5 == 1)


@pytest.mark.parametrize("draw", [normal, heavy, unequal, shared, tied, drifting, without_variance])
@pytest.mark.parametrize(("cases", "gates"), [(1, 400), (6, 200), (30, 60), (200, 10)])
def test_unchanged_code_is_rejected_no_more_often_than_the_level_with_all_looks(draw, cases, gates):
    level = 0.05  # where a simulation of this size has something to count
    assert alarms(draw, cases, gates, level) <= binom.ppf(0.999, gates, level)


def on_a_drifting_machine(rng, flip):
    """Return the cases of a launch pair on a machine that gets slower by a percent from block to block."""
    walls = np.empty((2, 20))
    for turn in range(20):
        order = (0, 1) if turn % 2 or not flip else (1, 0)
        for at, side in enumerate(order):
            walls[side, turn] = math.exp(0.01 * (2 * turn + at) + rng.normal(0, 0.005))
    before, after = (a_case(1 / side, side) for side in walls)
    return before, after


@pytest.mark.parametrize("flip", [True, False])
def test_a_machine_that_slows_down_raises_no_alarm_because_the_order_of_a_turn_is_flipped(flip):
    rng, level, gates = np.random.default_rng(4), 0.05, 150
    found = 0
    for _ in range(gates):
        pairs = [on_a_drifting_machine(rng, flip) for _ in range(LOOKS[0])]
        sample = effects(pairs, by_cpu=False)["throughput"]
        found += any(decision.rejected for decision in tried([sample], level).decisions.values())
    assert bool(found <= binom.ppf(0.999, gates, level)) is flip


def test_looks_without_spending_break_the_promise():
    rng = np.random.default_rng(1)
    gates = [rng.normal(0, 0.02, LOOKS[-1]) for _ in range(400)]
    found = sum(any(estimate(gate[:look]).p_value < 0.05 for look in LOOKS) for gate in gates)
    assert found > binom.ppf(0.999, 400, 0.05)


def test_a_slowdown_is_caught():
    rng = np.random.default_rng(2)
    found = [tried(rng.normal([[math.log(1.08)], *[[0.0]] * 5], 0.01, (6, 48))) for _ in range(100)]
    assert sum(jury.decisions[keys(1)[0]].verdict is Verdict.REGRESSED for jury in found) >= 99


@pytest.mark.parametrize("spread", [0.004, 0.008, 0.015])
def test_a_slowdown_below_the_threshold_is_not_waved_through_as_equivalent(spread):
    rng = np.random.default_rng(4)
    found = [tried(rng.normal([[math.log(1.03)], *[[0.0]] * 5], spread, (6, 48))) for _ in range(60)]
    assert sum(jury.decisions[keys(1)[0]].verdict is Verdict.SLOWER for jury in found) >= 58


def test_a_verdict_is_not_taken_back_for_none():
    (key,) = keys(1)
    jury = Jury({key: THRESHOLD}, LEVEL)
    jury.look({key: (first := [0.004, 0.024, 0.006, 0.026, 0.002, 0.022])})
    assert jury.open == [key], "it may be slower yet"
    jury.look({key: [*first, *(0.3 * (-1) ** number for number in range(6))]})
    assert (jury.decisions[key].verdict, jury.decisions[key].launches) == (Verdict.EQUIVALENT, 6)


def test_what_is_decided_keeps_the_interval_that_decided():
    rng = np.random.default_rng(3)
    sample = rng.normal(0, [[0.001], [0.2]], (2, 48))
    jury = tried(sample)
    quiet, noisy = (jury.decisions[key] for key in keys(2))
    assert (quiet.verdict, quiet.launches) == (Verdict.EQUIVALENT, 6)
    assert (noisy.verdict, noisy.launches) == (Verdict.INCONCLUSIVE, 48)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=48), st.randoms())
def test_an_estimate_knows_no_order_and_turns_with_the_direction(sample, random):
    one, mirrored = estimate(sample), estimate([-value for value in sample])
    random.shuffle(sample)
    assert estimate(sample) == one
    assert mirrored.effect == pytest.approx(-one.effect, abs=1e-12)
    assert mirrored.error == pytest.approx(one.error)
    assert mirrored.df == one.df


@given(st.lists(st.floats(-0.3, 0.3), min_size=48, max_size=48))
def test_regressed_and_improved_are_mirrors(sample):
    for launches in LOOKS:
        one, other = (
            tried([[sign * value for value in sample[:launches]] * (48 // launches)]).decisions[keys(1)[0]].verdict
            for sign in (1, -1)
        )
        if Verdict.SLOWER not in (one, other):
            assert MIRROR.get(one, one) is other


families = st.lists(
    st.lists(st.floats(-0.3, 0.3), min_size=LOOKS[1], max_size=LOOKS[1]), min_size=1, max_size=5, unique_by=tuple
)


def judged(samples):
    """Hold two looks, and return what is known of each case."""
    jury = Jury(dict.fromkeys(samples, THRESHOLD), LEVEL)
    for look in LOOKS[:2]:
        jury.look({key: values[:look] for key, values in samples.items()})
    return jury.decisions


@given(families, st.randoms())
def test_the_order_of_cases_changes_no_verdict_of_a_family(sample, random):
    cases = list(zip(keys(len(sample)), sample, strict=True))
    there = judged(dict(cases))
    random.shuffle(cases)
    p_values = [decision.estimate.p_value for decision in there.values()]
    if len(set(p_values)) == len(p_values):  # ties may be taken in either order, and share a step or not
        assert judged(dict(cases)) == there


@given(families)
def test_a_family_of_mirrored_cases_is_judged_as_its_mirror(sample):
    one = judged(dict(zip(keys(len(sample)), sample, strict=True)))
    other = judged(dict(zip(keys(len(sample)), [[-value for value in values] for values in sample], strict=True)))
    if Verdict.SLOWER not in {decision.verdict for decision in (*one.values(), *other.values())}:
        for key, decision in one.items():
            assert other[key].alpha == pytest.approx(decision.alpha)
            assert other[key].verdict is MIRROR.get(decision.verdict, decision.verdict)


@given(
    st.lists(st.tuples(st.floats(1e-6, 1e3), st.floats(1e-6, 1e3)), min_size=1, max_size=20),
    st.floats(1e-6, 1e6),
    st.booleans(),
)
def test_units_and_the_direction_of_a_figure_change_no_effect(turns, scale, by_cpu):
    def pair(scale):
        before, after = ([scale * time for time in side] for side in zip(*turns, strict=True))
        return a_case([1 / time for time in before], before), a_case([1 / time for time in after], after)

    (plain,) = effects([pair(1)], by_cpu=by_cpu)["throughput"]
    (scaled,) = effects([pair(scale)], by_cpu=by_cpu)["throughput"]
    assert scaled == pytest.approx(plain, abs=1e-9)
    times = effects([pair(1)], by_cpu=False)
    assert times["throughput"] == pytest.approx(times["cpu_time"], abs=1e-9), "fewer a second is longer for each"


def test_equal_ratios_are_no_certainty():
    same = estimate([0.0] * 6)
    assert same.error == pytest.approx(SPREAD_FLOOR / math.sqrt(6))
    assert estimate([0.0] * 5 + [1e-9]).error == same.error


def test_from_twelve_launches_on_a_lone_bad_second_is_left_out():
    quiet = [0.001 * (-1) ** number for number in range(12)]
    assert estimate([*quiet[:-1], 5.0]).effect == pytest.approx(0, abs=0.001)


def test_a_pair_that_fell_at_an_earlier_look_keeps_its_step():
    (first, second), level = keys(2), 0.01
    jury = Jury(dict.fromkeys((first, second), THRESHOLD), level)
    noise = [0.01, -0.01, 0.02, -0.02, 0.015, -0.015]
    jury.look({first: [0.5 + value / 10 for value in noise], second: [4 * value for value in noise]})
    assert jury.open == [second]
    jury.look({second: [4 * value for value in noise * 2]})
    assert jury.decisions[second].alpha == level / 4


def a_case(wall, cpu):
    speed = Series(metric=Metric("throughput", "op/s", "higher"), launches=(tuple(wall),))
    cost = Series(metric=Metric("cpu_time", "s/op", "lower"), launches=(tuple(cpu),))
    return Case(id="t", location=Location("t.py", 1), series=(speed, cost))


def test_an_effect_is_the_mean_of_the_middle_half_of_the_turns_turned_so_that_positive_is_worse():
    before, after = a_case([100, 200, 400, 100], [3, 3, 3, 3]), a_case([90, 160, 40, 200], [3, 6, 12, 6])
    by_wall = (math.log(1 / 0.9) + math.log(1 / 0.8)) / 2
    assert effects([(before, after)], by_cpu=False)["throughput"] == [pytest.approx(by_wall)]
    assert effects([(before, after)], by_cpu=True)["throughput"] == [pytest.approx(math.log(2))]


@pytest.mark.parametrize(
    ("cpu", "delay", "switches", "alone"),
    [(100, 0, 0, True), (60, 40, 0, True), (60, 0, 0, False), (190, 0, 0, False), (100, 0, 1, False)],
)
def test_one_busy_thread_waits_for_nothing_but_a_core(cpu, delay, switches, alone):
    assert one_busy_thread([100] * 3, [cpu] * 3, [delay] * 3, [0, 0, switches]) is alone


def test_a_figure_that_some_launches_lack_is_unmeasured():
    metric, rare = Metric("throughput", "op/s", "higher"), Metric("latency_p99", "s", "lower")

    def a_side(values):
        series = (
            Series(metric=metric, launches=tuple((100.0 + number,) for number in range(6))),
            Series(metric=rare, launches=tuple((value,) for value in values)),
        )
        return Case(id="t", location=Location("t.py", 1), series=series)

    policies = {"throughput": Policy(block=0.1), "latency_p99": Policy(block=0.1)}
    jury = Jury({("t", "throughput"): 0.1}, LEVEL)
    jury.look({("t", "throughput"): [0.0] * 6})
    bout = Bout(a_side([1.0]), a_side([1.0, 2.0]), policies, {"throughput": [0.0] * 6})
    rows, _ = judge([bout], jury, "no more")
    found = {row.metric: row for row in rows}
    assert found["throughput"].verdict is Verdict.EQUIVALENT
    assert found["latency_p99"].verdict is Verdict.UNMEASURED
    assert "only 1 of 6 launches have a value of it" in found["latency_p99"].reason
    assert (found["latency_p99"].baseline, found["latency_p99"].candidate) == (None, None)
