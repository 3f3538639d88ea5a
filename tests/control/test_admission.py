"""Admission: every transaction enters one batch or is refused and named, each sender's in their order."""

from __future__ import annotations

import dataclasses
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from supervm_core import reference
from supervm_core.control.adaptive import Adaptive, Limits
from supervm_core.control.admission import Admission, Reason
from supervm_core.control.congestion import Backoff, Congestion
from supervm_core.control.controller import Chain, Lane, Outcome, Plan, Sizing
from supervm_core.control.prediction import Prediction
from supervm_core.errors import BatchError
from supervm_core.execution import sequential
from supervm_core.state import State
from supervm_core.transactions import Batch, Kind, Status
from supervm_core.workloads import mixed, transfers

LIMITS = Limits(Sizing(1, 1, 16), Sizing(16, 4, 256))


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Whims:
    """A controller that puts off whom it likes, and rests when it likes."""

    def __init__(self, choose: Random, pauses: bool = True) -> None:
        self.choose = choose
        self.pauses = pauses

    def before(self, plan: Plan) -> Plan:
        lane = np.array([self.choose.choice(list(Lane)) for _ in plan.lane], np.uint8)
        pause = self.choose.choice([0.0, 0.0, 0.02]) if self.pauses else 0.0
        return dataclasses.replace(plan, lane=lane, pause=pause)

    def after(self, outcome: Outcome) -> None:
        pass


class Room(RuleBasedStateMachine):
    """Any sequence of offers and rounds, with a controller that does as it pleases."""

    @initialize(seed=st.integers(0, 2**32), retries=st.integers(0, 3), room=st.integers(1, 30))
    def begin(self, seed: int, retries: int, room: int) -> None:
        self.clock, choose = Clock(), Random(seed)
        self.retries = retries
        self.admission = Admission(
            Whims(choose), Backoff(max_retries=retries), room=room, clock=self.clock, chance=choose
        )
        self.sender: dict[int, int] = {}
        self.admitted: list[int] = []
        self.refused: list[int] = []
        self.put_off = 0

    @rule(senders=st.lists(st.integers(0, 3), max_size=12), gap=st.integers(1, 3))
    def offer(self, senders: list[int], gap: int) -> None:
        first = max(self.sender, default=-1) + gap
        tickets = list(range(first, first + len(senders)))
        full = self.admission.offer(tickets, senders, np.zeros((len(senders), 1), np.uint64))
        assert full.reason is Reason.FULL
        self.refused += full.tickets.tolist()
        self.sender.update(zip(tickets, senders, strict=True))

    @rule(size=st.integers(1, 10))
    def admit(self, size: int) -> None:
        resting = self.clock.now < self.admission.resumes
        found = self.admission.admit(Sizing(1, 1, size))
        assert len(found.tickets) == len(found.lane) == len(found.keys) == len(found.waited) <= size
        assert Lane.LATER not in found.lane.tolist()
        assert (found.waited >= 0).all()
        if resting:
            assert not found.tickets.size
            assert not found.put_off.size
        self.admitted += found.tickets.tolist()
        self.refused += found.refused.tickets.tolist()
        self.put_off += found.put_off.size

    @rule(seconds=st.floats(0, 0.06))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @invariant()
    def nobody_is_lost_or_there_twice(self) -> None:
        if not hasattr(self, "admission"):
            return
        gone = [*self.admitted, *self.refused]
        assert len(set(gone)) == len(gone)
        assert set(gone) <= set(self.sender)
        assert len(gone) + len(self.admission) == len(self.sender)
        assert self.admission.refusals.total() == len(self.refused)
        assert self.admission.retries == self.put_off

    @invariant()
    def nobody_overtakes_an_earlier_one_of_the_same_sender(self) -> None:
        gone = {*getattr(self, "admitted", []), *getattr(self, "refused", [])}
        for person in range(4):
            own = [ticket for ticket in getattr(self, "admitted", []) if self.sender[ticket] == person]
            assert own == sorted(own)
            waiting = [ticket for ticket, sender in getattr(self, "sender", {}).items() if sender == person]
            first = min((ticket for ticket in waiting if ticket not in gone), default=float("inf"))
            assert not own or own[-1] < first

    def teardown(self) -> None:
        """However it went, waiting long enough empties the room, and nobody is put off more often than allowed."""
        if not hasattr(self, "admission"):
            return
        for _ in range(len(self.admission) * (self.retries + 2) + 1):
            self.clock.now += 1
            self.admit(size=10)
        assert not len(self.admission)
        assert self.admission.next_due is None
        assert self.put_off <= self.retries * len(self.sender)


TestRoom = Room.TestCase
TestRoom.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)


def room(**parameters: object) -> tuple[Admission, Clock]:
    clock = Clock()
    return Admission(clock=clock, chance=Random(0), **parameters), clock


class PutOff:
    """A controller that puts off every transaction of key 0."""

    def before(self, plan: Plan) -> Plan:
        return dataclasses.replace(plan, lane=np.where(plan.keys[:, 0] == 0, Lane.LATER, plan.lane).astype(np.uint8))

    def after(self, outcome: Outcome) -> None:
        pass


def test_who_is_put_off_comes_again_and_is_refused_after_the_last_retry_with_the_reason() -> None:
    admission, clock = room(controller=PutOff(), backoff=Backoff(max_retries=2))
    admission.offer([4, 5], [1, 2], [[0], [1]])
    rounds = []
    for _ in range(3):
        found = admission.admit(Sizing(1, 1, 10))
        rounds.append((found.tickets.tolist(), found.refused.tickets.tolist(), found.put_off.size))
        clock.now += 1
    assert rounds == [([5], [], 1), ([], [], 1), ([], [4], 0)]
    assert admission.refusals == {Reason.FULL: 0, Reason.CONGESTED: 1}


def test_later_transactions_of_a_sender_wait_behind_and_lose_no_attempt() -> None:
    admission, clock = room(controller=PutOff(), backoff=Backoff(max_retries=1))
    admission.offer([0, 1, 2], [7, 7, 8], [[0], [1], [1]])
    first = admission.admit(Sizing(1, 1, 10))
    assert (first.tickets.tolist(), first.put_off.size) == ([2], 1)
    clock.now = 1
    second = admission.admit(Sizing(1, 1, 10))
    assert second.refused.tickets.tolist() == [0]
    assert second.tickets.tolist() == [1]
    assert second.waited.tolist() == [1.0]


def test_the_last_ones_are_refused_where_the_room_is_full() -> None:
    admission, _ = room(controller=Chain([]), backoff=Backoff(), room=2)
    assert admission.offer([0, 1, 2], [0, 0, 0], [[1], [1], [1]]).tickets.tolist() == [2]
    assert admission.admit(Sizing(1, 1, 10)).tickets.tolist() == [0, 1]
    assert admission.offer([3], [0], [[1]]).tickets.tolist() == []


def test_the_caller_may_use_its_arrays_again_while_transactions_wait() -> None:
    admission, _ = room(controller=Chain([]), backoff=Backoff())
    tickets, senders, keys = np.array([3, 4]), np.array([1, 2], np.uint64), np.array([[7, 8], [9, 10]], np.uint64)
    admission.offer(tickets, senders, keys)
    tickets[:], senders[:], keys[:] = 0, 0, 0
    admitted = admission.admit(Sizing(1, 1, 10))
    assert admitted.tickets.tolist() == [3, 4]
    assert admitted.keys.tolist() == [[7, 8], [9, 10]]


class Rests:
    """A controller that wants a pause after each batch."""

    def before(self, plan: Plan) -> Plan:
        return dataclasses.replace(plan, pause=0.02)

    def after(self, outcome: Outcome) -> None:
        pass


def test_during_a_pause_nobody_is_admitted_and_nobody_loses_an_attempt() -> None:
    admission, clock = room(controller=Rests(), backoff=Backoff())
    admission.offer([0, 1], [0, 1], [[1], [2]])
    assert admission.admit(Sizing(1, 1, 1)).tickets.tolist() == [0]
    assert admission.next_due == admission.resumes == 0.02
    clock.now = 0.019
    resting = admission.admit(Sizing(1, 1, 1))
    assert (resting.tickets.tolist(), resting.refused.tickets.tolist(), resting.put_off.size) == ([], [], 0)
    clock.now = 0.02
    assert admission.admit(Sizing(1, 1, 1)).tickets.tolist() == [1]


def test_it_says_when_it_pays_to_ask_again() -> None:
    admission, clock = room(controller=PutOff(), backoff=Backoff(base=0.01, longest=0.01, max_retries=3))
    assert admission.next_due is None
    clock.now = 5.0
    admission.offer([0], [0], [[0]])
    assert admission.next_due == 5.0
    admission.admit(Sizing(1, 1, 10))
    assert 5.0 < admission.next_due <= 5.01
    clock.now = float(np.nextafter(admission.next_due, 0))
    assert admission.admit(Sizing(1, 1, 10)).put_off.size == 0
    clock.now = admission.next_due
    assert admission.admit(Sizing(1, 1, 10)).put_off.size == 1


@pytest.mark.parametrize(
    ("offered", "says"),
    [
        (([1, 1], [0, 0], [[0], [0]]), "tickets must rise, above 0"),
        (([0], [0], [[0]]), "tickets must rise, above 0"),
        (([1], [0, 0], [[0]]), "1 tickets, 2 senders"),
        (([1], [0], [0]), r"keys of shape \(1,\)"),
        (([1], [0], [[0, 0]]), "2 keys a transaction, but those who wait have 1"),
    ],
)
def test_columns_that_do_not_fit_are_refused_and_nothing_is_offered(offered: tuple, says: str) -> None:
    admission, _ = room(controller=Chain([]), backoff=Backoff())
    admission.offer([0], [0], [[0]])
    with pytest.raises(BatchError, match=says):
        admission.offer(*offered)
    assert len(admission) == 1


def meeting(keys: np.ndarray) -> np.ndarray:
    """Who shares a key with an earlier transaction of the batch."""
    seen: set[int] = set()
    met = []
    for row in keys.tolist():
        met.append(bool(seen & set(row)))
        seen |= set(row)
    return np.array(met, np.bool_)


@given(st.integers(0, 2**16), st.sampled_from([0, 5]))
@settings(max_examples=15, deadline=None)
def test_a_storm_on_one_key_is_kept_to_its_seats_and_what_was_admitted_succeeds(seed: int, retries: int) -> None:
    """Ordered nonces succeed only if every sender's transactions entered in order; refused ones leave a gap after them.

    The receipts must be those of the specification for what was admitted, and nothing else may have changed the state.
    """
    batch = transfers(600, accounts=300, seed=seed, nonces="strict")
    receiver = np.where(np.arange(600) % 3 == 0, 7, batch.receiver)
    keys = np.stack([batch.sender, receiver], axis=1)
    admission, clock = room(controller=Congestion(), backoff=Backoff(max_retries=retries))
    admission.offer(np.arange(600), batch.sender, keys)
    state = State.with_accounts(300, balance=10**6)
    sizing, shares, gone = Sizing(4, 2, 100), [], set()
    while len(admission):
        found = admission.admit(sizing)
        gone |= {int(batch.sender[ticket]) for ticket in found.refused.tickets}
        clock.now += 0.02
        if not found.tickets.size:
            continue
        rows = list(batch.transactions())
        receipts = reference.execute(state, Batch.of([rows[ticket] for ticket in found.tickets]))
        for ticket, status in zip(found.tickets.tolist(), receipts.status.tolist(), strict=True):
            assert status == Status.SUCCESS or int(batch.sender[ticket]) in gone
        if admission.controller.hot.size and len(shares) < 3:
            shares.append(np.count_nonzero(found.lane == Lane.HOT) / found.tickets.size)
        admission.after(Outcome(sizing, found.keys, meeting(found.keys), 1.0, 1.0, len(admission)))
    if retries == 0:
        assert admission.refusals[Reason.CONGESTED] > 0
    assert shares
    assert max(shares) <= 0.35


class Sizes:
    """A controller that wants batches of another size than it is asked for."""

    def __init__(self, size: int) -> None:
        self.size = size

    def before(self, plan: Plan) -> Plan:
        return dataclasses.replace(plan, sizing=Sizing(1, 1, self.size))

    def after(self, outcome: Outcome) -> None:
        pass


def test_where_the_controller_wants_a_smaller_batch_the_last_ones_wait() -> None:
    admission, _ = room(controller=Chain([PutOff(), Sizes(2)]), backoff=Backoff(max_retries=0))
    admission.offer(range(4), [1, 2, 3, 4], [[1], [1], [1], [0]])
    first = admission.admit(Sizing(1, 1, 10))
    assert first.tickets.tolist() == [0, 1]
    assert first.sizing == Sizing(1, 1, 2)
    assert not first.refused.tickets.size, "who was not looked at is not refused either"
    second = admission.admit(first.sizing)
    assert (second.tickets.tolist(), second.refused.tickets.tolist()) == ([2], [3])


@given(st.integers(0, 2**16))
@settings(max_examples=8, deadline=None)
def test_with_all_controllers_at_work_every_batch_equals_the_specification(seed: int) -> None:
    choose, clock = Random(seed), Clock()
    batch = mixed(2_000, accounts=60, slots=20, seed=seed, nonces="strict")
    control = Chain([Adaptive(Sizing(4, 2, 64), LIMITS), Prediction(80), Congestion()])
    admission = Admission(control, Backoff(max_retries=1), clock=clock, chance=choose)
    keys = np.stack(
        [batch.sender, batch.receiver, np.where(batch.kind == Kind.CALL, 60 + batch.arguments[:, 0], batch.receiver)], 1
    )
    admission.offer(range(2_000), batch.sender, keys)
    state = State.with_accounts(60, balance=500, slots=20)
    expected = state.copy()
    rows, sizing, lanes, executed = list(batch.transactions()), Sizing(4, 2, 64), set(), 0
    while len(admission):
        found = admission.admit(sizing)
        sizing = found.sizing
        assert found.tickets.size <= sizing.batch_size
        clock.now += choose.choice([0.001, 0.06])
        admitted = Batch.of([rows[ticket] for ticket in found.tickets], batch.programs)
        assert sequential.execute(state, admitted) == reference.execute(expected, admitted)
        assert state == expected
        lanes |= set(found.lane.tolist())
        executed += len(admitted)
        admission.after(
            Outcome(sizing, found.keys, meeting(found.keys), 0.01, choose.choice([0.001, 0.02]), len(admission))
        )
    assert executed + admission.refusals.total() == 2_000
    assert lanes > {Lane.FAST}, "no controller did anything"
