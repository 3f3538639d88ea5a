"""One interval against one threshold, and all intervals of a family together."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_supervm.judge.family import holm
from pytest_supervm.judge.verdict import NEGLIGIBLE, decide
from pytest_supervm.model import Verdict

T = math.log(1.05)
effects = st.floats(-1, 1)
halves = st.floats(0, 1)
some_thresholds = st.one_of(st.none(), st.floats(0.001, 0.5))


@pytest.mark.parametrize(
    ("low", "effect", "high", "threshold", "verdict"),
    [
        (0.001, 0.06, 0.12, T, Verdict.REGRESSED),
        (0.000, 0.06, 0.12, T, Verdict.INCONCLUSIVE),
        (0.001, T, 0.12, T, Verdict.REGRESSED),
        (0.011, 0.04, 0.07, T, Verdict.SLOWER),
        (0.011, 0.02, 0.03, T, Verdict.SLOWER),
        (0.009, 0.02, 0.03, T, Verdict.EQUIVALENT),
        (0.009, 0.04, 0.07, T, Verdict.INCONCLUSIVE),
        (-0.04, 0.00, 0.04, T, Verdict.EQUIVALENT),
        (-0.04, 0.00, T, T, Verdict.INCONCLUSIVE),
        (-0.12, -0.06, -0.001, T, Verdict.IMPROVED),
        (-0.12, -T, -0.001, T, Verdict.IMPROVED),
        (-0.12, -0.06, 0.000, T, Verdict.INCONCLUSIVE),
        (0.011, 0.30, 0.60, None, Verdict.SLOWER),
        (-0.60, -0.30, -0.01, None, Verdict.IMPROVED),
        (-0.009, 0.0, 0.009, None, Verdict.EQUIVALENT),
        (-0.009, 0.1, 0.2, None, Verdict.INCONCLUSIVE),
        (0.001, 0.02, 0.04, 0.005, Verdict.REGRESSED),
    ],
)
def test_a_verdict_follows_from_interval_and_threshold(low, effect, high, threshold, verdict):
    assert decide(effect, (low, high), threshold) is verdict


@given(effects, halves, st.floats(0.001, 0.5))
def test_improved_is_the_mirror_of_regressed(effect, half, threshold):
    forth = decide(effect, (effect - half, effect + half), threshold)
    back = decide(-effect, (-effect - half, -effect + half), threshold)
    assert (forth is Verdict.REGRESSED) == (back is Verdict.IMPROVED)
    if Verdict.SLOWER not in (forth, back):
        assert (forth is Verdict.EQUIVALENT) == (back is Verdict.EQUIVALENT)


@given(effects, halves, some_thresholds)
def test_what_includes_zero_is_never_called_a_change(effect, half, threshold):
    if abs(effect) <= half:
        found = decide(effect, (effect - half, effect + half), threshold)
        assert found in (Verdict.EQUIVALENT, Verdict.INCONCLUSIVE)


@given(effects, halves, st.floats(NEGLIGIBLE, 0.5))
def test_slower_stays_below_the_threshold(effect, half, threshold):
    if decide(effect, (effect - half, effect + half), threshold) is Verdict.SLOWER:
        assert effect < threshold


p_lists = st.lists(st.one_of(st.floats(0, 1), st.floats(0, 0.02), st.sampled_from([0.0025, 0.005, 0.01, 1.0])))


def rejected_by_definition(p_values: list[float], level: float) -> int:
    """Holm 1979: reject the smallest p-values up to the first that exceeds its level; return how many."""
    ordered = sorted(p_values)
    size = len(ordered)
    return next((k for k, p in enumerate(ordered) if p > level / (size - k)), size)


@given(p_lists)
def test_holm_rejects_what_its_definition_rejects(p_values):
    levels = holm(p_values, 0.01)
    rejected = [p for p, alpha in zip(p_values, levels, strict=True) if p <= alpha]
    count = rejected_by_definition(p_values, 0.01)
    assert sorted(rejected) == sorted(p_values)[:count]
    if count < len(p_values):
        assert max(levels) == pytest.approx(0.01 / (len(p_values) - count))
        undecided = [alpha for p, alpha in zip(p_values, levels, strict=True) if p > alpha]
        assert set(undecided) == {max(levels)}


@given(p_lists)
def test_holm_rejects_at_least_what_bonferroni_rejects_and_at_most_what_no_correction_does(p_values):
    for p, alpha in zip(p_values, holm(p_values, 0.01), strict=True):
        assert 0.01 / len(p_values) <= alpha <= 0.01
        assert p > alpha or p <= 0.01


@given(p_lists.filter(lambda found: len(set(found)) == len(found)))
def test_holm_does_not_depend_on_the_order(p_values):
    there = dict(zip(p_values, holm(p_values, 0.01), strict=True))
    back = dict(zip(p_values[::-1], holm(p_values[::-1], 0.01), strict=True))
    assert there == back
