"""Prediction learns who conflicts, keeps an honest score, and touches nothing but the lane."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervm_core.control.controller import Lane, Outcome, Plan, Sizing
from supervm_core.control.prediction import SAMPLE, Prediction, Score
from supervm_core.errors import SettingError
from supervm_core.execution.meetings import Meetings

SIZING = Sizing(4, 2, 1000)
ACCOUNTS = 1_000_000

KEYS = st.lists(st.lists(st.integers(0, 5), min_size=2, max_size=2), max_size=12)


def outcome(keys: np.ndarray) -> Outcome:
    return Outcome(SIZING, keys, Meetings(ACCOUNTS).of(keys), 1.0, 1.0, 0)


def zipf(exponent: float, batches: int, seed: int = 0) -> list[np.ndarray]:
    """Batches of 500 transfers whose receivers follow Zipf's law, the popular ones spread over all accounts."""
    generator = np.random.default_rng(seed)
    weights = np.arange(1, 10_001.0) ** -exponent
    popular = generator.permutation(ACCOUNTS)[:10_000]
    receivers = generator.choice(popular, (batches, 500), p=weights / weights.sum())
    senders = generator.integers(0, ACCOUNTS, (batches, 500))
    return list(np.stack([senders, receivers], axis=2).astype(np.uint64))


def one_key(batches: int) -> list[np.ndarray]:
    keys = np.random.default_rng(1).integers(0, ACCOUNTS, (batches, 500, 2)).astype(np.uint64)
    keys[:, 5:, 1] = 77
    return list(keys)


def scored(load: list[np.ndarray]) -> Score:
    predictor = Prediction(ACCOUNTS, route=False)
    for keys in load:
        predictor.after(outcome(keys))
    return predictor.score


@given(KEYS)
def test_transactions_meet_when_another_names_one_of_their_keys(keys: list[list[int]]) -> None:
    rows = [set(row) for row in keys]
    expected = [any(row & other for j, other in enumerate(rows) if j != i) for i, row in enumerate(rows)]
    assert Meetings(6).of(np.array(keys, np.uint64).reshape(-1, 2)).tolist() == expected


@pytest.mark.parametrize(
    "load", [zipf(1.2, 40), zipf(1.5, 40), zipf(2.0, 40), one_key(40)], ids=["1.2", "1.5", "2", "one"]
)
def test_under_skew_fewer_attempts_are_undone_than_without_prediction(load: list[np.ndarray]) -> None:
    score = scored(load)
    assert score.undone_with < score.undone_without / 2
    assert score.accuracy > max(score.undone_without, 1 - score.undone_without), "no better than always saying the same"


def test_without_conflicts_nobody_is_misled() -> None:
    uniform = list(np.random.default_rng(3).integers(0, ACCOUNTS, (40, 500, 2)).astype(np.uint64))
    score = scored(uniform)
    assert score.misled < 0.001
    assert score.accuracy > 0.99


def test_a_key_that_cools_down_is_forgotten() -> None:
    predictor = Prediction(ACCOUNTS)
    for keys in one_key(20):
        predictor.after(outcome(keys))
    assert predictor.probabilities([[1, 77]])[0] > 0.9
    quiet = np.random.default_rng(4)
    for _ in range(300):
        keys = quiet.integers(0, ACCOUNTS, (1000, 2)).astype(np.uint64)
        keys[0, 1] = 77
        predictor.after(Outcome(SIZING, keys, np.zeros(1000, np.bool_), 1.0, 1.0, 0))
    assert predictor.probabilities([[1, 77]])[0] < 0.5


def test_who_was_in_bad_company_is_not_suspected_alone() -> None:
    """A sender whose payments to a hot account all conflicted can still pay others the fast way."""
    predictor = Prediction(ACCOUNTS)
    for keys in one_key(4):
        predictor.after(outcome(keys))
    keys = np.array([[500_000, 77]] * 200, np.uint64)
    predictor.after(Outcome(SIZING, keys, np.ones(200, np.bool_), 1.0, 1.0, 0))
    assert predictor.probabilities([[500_000, 77], [500_000, 900_000]]).round(1).tolist() == [1.0, 0.0]


def test_nothing_is_routed_before_the_sample_is_full_and_the_hot_are_routed_after() -> None:
    predictor = Prediction(ACCOUNTS)
    plan = Plan.of(SIZING, [[1, 77], [2, 3]])
    storm = np.stack([np.arange(1000, 1000 + SAMPLE - 1), np.full(SAMPLE - 1, 77)], axis=1).astype(np.uint64)
    predictor.after(Outcome(SIZING, storm, np.ones(SAMPLE - 1, np.bool_), 1.0, 1.0, 0))
    assert predictor.before(plan) is plan
    predictor.after(Outcome(SIZING, np.array([[5, 6]], np.uint64), np.array([False]), 1.0, 1.0, 0))
    assert predictor.before(plan).lane[0] == Lane.ORDERED
    assert predictor.score == Score(), "the sample itself is not scored"


def test_lanes_that_others_chose_stay_and_the_plan_is_otherwise_the_same() -> None:
    predictor = Prediction(ACCOUNTS)
    for keys in one_key(10):
        predictor.after(outcome(keys))
    plan = Plan(SIZING, np.array([[1, 77]] * 3, np.uint64), np.array([Lane.HOT, Lane.LATER, Lane.FAST], np.uint8), 0.5)
    routed = predictor.before(plan)
    assert routed.lane.tolist() == [Lane.HOT, Lane.LATER, Lane.ORDERED]
    assert plan.lane.tolist() == [Lane.HOT, Lane.LATER, Lane.FAST]
    assert (routed.sizing, routed.pause) == (plan.sizing, plan.pause)
    assert routed.keys is plan.keys


def test_one_that_only_watches_routes_nothing() -> None:
    predictor = Prediction(ACCOUNTS, route=False)
    for keys in one_key(10):
        predictor.after(outcome(keys))
    plan = Plan.of(SIZING, [[1, 77]])
    assert predictor.before(plan) is plan
    assert predictor.score.hits > 0


@given(st.lists(KEYS, max_size=6), st.integers(1, 2**64))
def test_probabilities_are_probabilities_for_any_keys(history: list[list[list[int]]], space: int) -> None:
    predictor = Prediction(space)
    for keys in history:
        predictor.after(outcome(np.array(keys, np.uint64).reshape(-1, 2)))
    found = predictor.probabilities([[0, space - 1], [2**64 - 1, 5]])
    assert ((found >= 0) & (found <= 1)).all()


def test_scores_add_up_and_name_what_they_count() -> None:
    score = Score(hits=6, false_alarms=1, missed=2, clear=11) + Score()
    assert score == Score(6, 1, 2, 11)
    assert score.accuracy == 17 / 20
    assert score.undone_without == 8 / 20
    assert score.undone_with == 2 / 13
    assert score.misled == 1 / 12
    assert (Score().accuracy, Score().undone_with, Score().undone_without, Score().misled) == (1, 0, 0, 0)


@pytest.mark.parametrize(
    ("parameters", "says"),
    [({"key_space": 0}, "key_space is 0"), ({"key_space": 5, "threshold": 1.0}, "between 0 and 1")],
)
def test_settings_that_make_no_sense_are_refused(parameters: dict[str, float], says: str) -> None:
    with pytest.raises(SettingError, match=says):
        Prediction(**parameters)
