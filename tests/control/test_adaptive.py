"""Adaptive control asks for what the thresholds say, does not swing, and pays on loads that change."""

from __future__ import annotations

import dataclasses
import itertools
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervm_core.control.adaptive import (
    KNOBS,
    LONGEST_BAN,
    PATIENCE,
    REST,
    Adaptive,
    Limits,
    Memory,
    Step,
    decide,
    wishes,
)
from supervm_core.control.controller import Chain, Outcome, Plan, Sizing
from supervm_core.errors import SettingError

from .machine import Fixed, Phase, batch, mean_response

LIMITS = Limits(Sizing(1, 1, 256), Sizing(64, 4, 16_384))
MIDDLE = Sizing(8, 2, 1024)


def outcome(sizing: Sizing = MIDDLE, *, conflicts: float = 0.1, cpu: float = 0.9, backlog: int = 1024) -> Outcome:
    """A batch of 100 transactions in a second that, as it stands, asks for nothing."""
    conflicted = np.arange(100) < round(conflicts * 100)
    return Outcome(sizing, np.zeros((100, 1), np.uint64), conflicted, 1.0, cpu * sizing.workers, backlog)


def repeated(seen: Outcome, times: int) -> list[Sizing]:
    """The sizings decided while every batch is like this one."""
    sizing, memory, sizings = seen.sizing, Memory(), []
    for _ in range(times):
        sizing, memory, _ = decide(sizing, dataclasses.replace(seen, sizing=sizing), memory, LIMITS)
        sizings.append(sizing)
    return sizings


@pytest.mark.parametrize(
    ("seen", "steps"),
    [
        (outcome(), []),
        (outcome(conflicts=0.15), []),
        (outcome(conflicts=0.16), [("partitions", True)]),
        (outcome(conflicts=0.05), []),
        (outcome(conflicts=0.04), [("partitions", False)]),
        (outcome(cpu=0.5), []),
        (outcome(cpu=0.49), [("workers", False)]),
        (outcome(backlog=2 * 1024), []),
        (outcome(backlog=2 * 1024 + 1), [("workers", True), ("batch_size", True)]),
        (outcome(cpu=0.49, backlog=3000), [("workers", False), ("batch_size", True)]),
        (outcome(backlog=255), [("batch_size", False)]),
        (outcome(backlog=256), []),
    ],
)
def test_an_outcome_asks_for_the_steps_that_the_thresholds_say(seen: Outcome, steps: list[tuple[str, bool]]) -> None:
    assert [tuple(step) for step in wishes(seen)] == steps


def test_a_wish_is_granted_when_it_has_come_often_enough_in_a_row() -> None:
    high, fine = outcome(conflicts=0.5), outcome()
    assert repeated(high, PATIENCE)[-2:] == [MIDDLE, Sizing(16, 2, 1024)]
    memory = Memory()
    for seen in [*[high] * (PATIENCE - 1), fine, *[high] * (PATIENCE - 1)]:
        sizing, memory, _ = decide(MIDDLE, seen, memory, LIMITS)
        assert sizing == MIDDLE, "an odd batch between begins the count anew"


def test_after_a_step_the_executor_is_left_alone_to_show_what_it_does() -> None:
    changes = [a != b for a, b in itertools.pairwise([MIDDLE, *repeated(outcome(conflicts=0.5), 12)])]
    places = [index for index, changed in enumerate(changes) if changed]
    assert places[0] == PATIENCE - 1
    assert all(later - earlier >= REST for earlier, later in itertools.pairwise(places))


def with_throughput(sizing: Sizing, throughput: float, **seen: float) -> Outcome:
    base = outcome(sizing, backlog=2048, **seen)
    return dataclasses.replace(base, seconds=100 / throughput, cpu_seconds=0.9 * sizing.workers * 100 / throughput)


@pytest.mark.parametrize(("after", "kept"), [(94, False), (96, True), (120, True)])
def test_a_step_that_costs_throughput_is_taken_back_and_not_repeated_at_once(after: int, kept: bool) -> None:
    sizing, memory, sizings, reasons = MIDDLE, Memory(), [], []
    for _ in range(PATIENCE + REST + 10):
        throughput = 100 if sizing == MIDDLE else after
        sizing, memory, reason = decide(sizing, with_throughput(sizing, throughput, conflicts=0.5), memory, LIMITS)
        sizings.append(sizing)
        reasons.append(reason)
    if kept:
        assert MIDDLE not in sizings[PATIENCE:]
    else:
        assert sizings[PATIENCE + REST :] == [MIDDLE] * 10
        assert "partitions back to 8: throughput fell by 6%; not tried again for 16 batches" in reasons


def test_without_a_backlog_throughput_says_nothing_about_a_step() -> None:
    """Throughput of an idle executor is the load's: a step must not be blamed for senders who went to bed."""
    sizing, memory = MIDDLE, Memory()
    for index in range(PATIENCE + REST):
        seen = dataclasses.replace(with_throughput(sizing, 100 if index < PATIENCE else 10, conflicts=0.5), backlog=300)
        sizing, memory, _ = decide(sizing, seen, memory, LIMITS)
    assert sizing.partitions > MIDDLE.partitions
    assert not memory.bans


def test_what_a_former_sizing_did_and_what_nobody_executed_teaches_nothing() -> None:
    empty = dataclasses.replace(outcome(), conflicted=np.zeros(0, np.bool_))
    for seen in (empty, outcome(Sizing(1, 1, 256), conflicts=0.9)):
        assert decide(MIDDLE, seen, Memory(), LIMITS) == (MIDDLE, Memory(), "")


OUTCOMES = st.tuples(st.floats(0, 1), st.floats(0, 1), st.integers(0, 10**6), st.floats(1e-3, 10))


@given(st.lists(OUTCOMES, max_size=60))
def test_whatever_is_seen_knobs_stay_in_their_limits_and_move_one_at_a_time(
    seen: list[tuple[float, float, int, float]],
) -> None:
    sizing, memory = MIDDLE, Memory()
    for conflicts, cpu, backlog, seconds in seen:
        result = dataclasses.replace(outcome(sizing, conflicts=conflicts, cpu=cpu, backlog=backlog), seconds=seconds)
        former = sizing
        sizing, memory, reason = decide(sizing, result, memory, LIMITS)
        changed = [knob for knob in KNOBS if getattr(sizing, knob) != getattr(former, knob)]
        assert len(changed) <= 1
        assert bool(changed) == bool(reason), "a silent decision, or a reason for nothing"
        assert all(left <= LONGEST_BAN for left in memory.bans.values())
        for knob in KNOBS:
            assert getattr(LIMITS.least, knob) <= getattr(sizing, knob) <= getattr(LIMITS.most, knob)


MANY = 6_000_000
CALM, CONTENDED = Phase(MANY, 3e6, 0.02, 4), Phase(MANY, 3e6, 2.0, 4)
CROWDED, SLOW = Phase(MANY, 3e6, 0.02, 1), Phase(60_000, 0.3e6, 0.02, 4)
SCARCE = Phase(MANY, 3e6, 4.0, 2)


@pytest.mark.parametrize(
    "phases",
    [[CALM, CONTENDED, CROWDED, SLOW, SCARCE], [CONTENDED, CALM, SCARCE, CROWDED, CONTENDED]],
    ids=["calm first", "contended first"],
)
def test_on_a_changing_load_it_answers_sooner_than_the_best_fixed_sizing(phases: list[Phase]) -> None:
    """Best in hindsight, that is: nobody could have known it. Each phase of the model holds for seconds."""
    fixed = [Sizing(*sizing) for sizing in itertools.product([1, 16, 64], [1, 2, 4], [16_384])]
    best = min(mean_response(Fixed(sizing), sizing, phases) for sizing in fixed)
    for start in (Sizing(4, 2, 1024), LIMITS.most):
        assert mean_response(Adaptive(start, LIMITS), start, phases) < best


@pytest.mark.parametrize("phase", [CALM, CONTENDED, CROWDED, SCARCE], ids=["calm", "contended", "crowded", "scarce"])
def test_on_a_steady_load_it_settles(phase: Phase) -> None:
    """Trying what was banned costs two changes each time; a controller that swings makes dozens."""
    control, choose, changes = Adaptive(MIDDLE, LIMITS), Random(5), []
    for turn in range(600):
        before = control.sizing
        control.after(batch(before, before.batch_size, phase, 3 * LIMITS.most.batch_size, choose))
        if control.sizing != before:
            changes.append(turn)
    assert len([turn for turn in changes if turn >= 300]) <= 2 * len(KNOBS) * 300 / LONGEST_BAN


def test_a_machine_with_one_free_core_is_found_out() -> None:
    control, choose = Adaptive(LIMITS.most, LIMITS), Random(2)
    for _ in range(60):
        control.after(batch(control.sizing, control.sizing.batch_size, CROWDED, 10**6, choose))
    assert control.sizing.workers == 1


def test_the_plan_carries_the_sizing_and_nothing_else_changes() -> None:
    plan = Plan.of(Sizing(1, 1, 1), [[1, 2], [3, 4]])
    changed = Chain([Adaptive(MIDDLE, LIMITS)]).before(plan)
    assert changed.sizing == MIDDLE
    assert changed.keys is plan.keys
    assert changed.lane is plan.lane


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(SettingError, match="workers cannot go from 4 to 2"):
        Limits(Sizing(1, 4, 1), Sizing(1, 2, 1))
    with pytest.raises(SettingError, match="batch_size is 0; a batch needs at least 1"):
        Sizing(1, 1, 0)


def test_a_step_down_that_had_to_be_reversed_waits_longer_each_time() -> None:
    """A batch size that is a little too small lets a backlog grow slowly: without the ban it would swing for ever."""
    low, high = outcome(backlog=10), outcome(backlog=10**5, cpu=0.9)
    sizing, memory, waits = MIDDLE, Memory(), []
    limits = Limits(Sizing(8, 2, 512), Sizing(8, 2, 1024))
    since = 0
    for _ in range(200):
        seen = low if sizing == MIDDLE else high
        former = sizing
        sizing, memory, _ = decide(sizing, dataclasses.replace(seen, sizing=sizing), memory, limits)
        since += 1
        if former == MIDDLE and sizing != MIDDLE:
            waits.append(since)
            since = 0
    assert waits[1] < waits[2] < waits[3]
    assert Step("batch_size", False) in memory.failures
