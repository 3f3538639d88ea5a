"""The intake executes or refuses each transaction once, and whatever batches it makes are executed as specified.

If these fail, transactions are lost or done twice on their way in, or a controller changes what a batch does.
"""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervm_core.control import congestion
from supervm_core.control.adaptive import Limits
from supervm_core.control.congestion import Congestion
from supervm_core.control.controller import Lane, Plan, Sizing
from supervm_core.engine import SuperVM
from supervm_core.errors import BatchError, SettingError
from supervm_core.execution import meetings
from supervm_core.execution.meetings import Meetings
from supervm_core.intake import Intake
from supervm_core.telemetry.counters import Count
from supervm_core.transactions import Batch, Kind
from supervm_core.workloads import calls, transfers

from .ledgers import SEARCH, area_batch, areas, state
from .ledgers import batch as any_batch

CONTROLS = ["adaptive-partition", "congestion-control", "experimental-predictor"]
PATHS = ["partitioned-fastpath", "consensus-optimizations"]


class Time:
    """A clock that stands still between steps and goes on while somebody sleeps."""

    def __init__(self) -> None:
        self.ns = 10**9
        self.slept = 0.0

    def __call__(self) -> int:
        self.ns += 1_000
        return self.ns

    def sleep(self, seconds: float) -> None:
        assert 0 <= seconds < 1
        self.slept += seconds
        self.ns += int(seconds * 1e9) + 1


def executed_in_full(intake: Intake, specified: SuperVM) -> tuple[list[int], list[int]]:
    """Drain the intake, hold each batch to the specification, and give the tickets: executed ones and refused ones."""
    executed: list[int] = []
    refused: list[int] = []
    for step in intake.drain():
        for each in step.executed:
            assert specified.execute(each.batch) == each.receipts
            executed += each.tickets.tolist()
        assert intake.vm.state == specified.state
        refused += step.refused.tickets.tolist()
    return executed, refused


@settings(SEARCH, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    on=st.sets(st.sampled_from([*CONTROLS, *PATHS])),
    batch_size=st.integers(1, 300),
    room=st.integers(1, 600),
    shared=st.sampled_from([0.0, 0.1, 1.0]),
)
def test_each_transaction_is_executed_or_refused_once_and_batches_are_as_specified(
    seed: int, on: set[str], batch_size: int, room: int, shared: float
) -> None:
    choose = Random(seed)
    ledger, _ = areas(choose, 60, 0)
    vm = SuperVM(ledger, features=on, partitions=3, threads=2)
    time = Time()
    limits = Limits(Sizing(1, 1, 1), Sizing(8, 2, 600))
    intake = Intake(vm, batch_size=batch_size, room=room, limits=limits, chance=choose, clock=time, sleep=time.sleep)
    specified = SuperVM(ledger, executor="reference")
    offered: list[Batch] = []
    executed: list[int] = []
    refused: list[int] = []
    for _ in range(choose.randint(1, 3)):
        batch = area_batch(choose, ledger, shared) if choose.randint(0, 2) else any_batch(choose, ledger, 40)
        tickets, full = intake.offer(batch)
        assert tickets.tolist() == list(range(sum(map(len, offered)), sum(map(len, offered)) + len(batch)))
        offered.append(batch)
        refused += full.tickets.tolist()
        done, gone = executed_in_full(intake, specified)
        executed, refused = executed + done, refused + gone
    everybody = Batch.joined(offered)
    assert sorted(executed + refused) == list(range(len(everybody)))
    for sender in set(everybody.sender.tolist()):
        mine = [ticket for ticket in executed if everybody.sender[ticket] == sender]
        assert mine == sorted(mine)
    snapshot = vm.counters.snapshot()
    assert snapshot.total(Count.TRANSACTIONS) == len(executed)
    assert snapshot.total(Count.DROPPED) == len(refused) == sum(intake.refusals.values())
    assert snapshot.total(Count.RETRIES) == intake.retries
    assert snapshot.total(Count.QUEUE_LENGTH) == len(intake) == 0
    assert intake.latencies is not None
    assert intake.latencies.response.total == len(executed)
    waited = intake.latencies.wait.seconds * 1e9
    assert snapshot.total(Count.QUEUE_WAIT) <= waited
    assert not intake._offered


def test_latency_counts_from_when_a_transaction_was_due() -> None:
    time = Time()
    intake = Intake(SuperVM.with_accounts(9, balance=100), clock=time, sleep=time.sleep)
    due = time.ns - 5 * 10**9
    intake.offer(transfers(10, accounts=9), due=due)
    list(intake.drain())
    assert intake.latencies is not None
    assert 5 < intake.latencies.wait.seconds / 10 < 5.1
    assert intake.latencies.service.seconds / 10 < 0.1


def test_transactions_that_are_expected_to_meet_others_make_a_batch_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two is expected, and takes along what its sender sent later."""
    batch = Batch(Kind.TRANSFER, [0, 1, 2, 3, 2, 4], [5] * 6, 1, nonce=[0, 0, 0, 0, 1, 0])
    vm = SuperVM.with_accounts(6, balance=9, features=["congestion-control"])
    intake = Intake(vm)

    def before(_: Congestion, plan: Plan) -> Plan:
        plan.lane[2] = Lane.HOT
        return plan

    monkeypatch.setattr(Congestion, "before", before)
    intake.offer(batch)
    (step,) = intake.drain()
    assert [each.tickets.tolist() for each in step.executed] == [[0, 1, 3, 5], [2, 4]]
    assert [each.receipts.failed for each in step.executed] == [0, 0]


def test_hot_keys_are_put_off_and_refused_and_nobody_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTPATH_CONGESTION_CONTROL", "exponential")
    monkeypatch.setenv("FASTPATH_MAX_RETRIES", "1")
    time = Time()
    vm = SuperVM.with_accounts(1_000, balance=10**6)
    intake = Intake(vm, batch_size=200, chance=Random(1), clock=time, sleep=time.sleep)
    offered = transfers(3_000, accounts=1_000)
    storm = Batch(offered.kind, offered.sender, np.where(np.arange(3_000) % 3, 7, offered.receiver), offered.amount)
    intake.offer(storm)
    executed, refused = executed_in_full(intake, SuperVM(vm.state, executor="reference"))
    assert sorted(executed + refused) == list(range(3_000))
    assert refused
    assert (storm.receiver[refused] == 7).all() or (storm.sender[refused] == 7).any()
    assert intake.retries
    assert time.slept >= congestion.SHORTEST_PAUSE


def test_adaptive_control_turns_what_the_ledger_is_set_to() -> None:
    """Much waits, so batches get larger and workers more; the ledger is configured as the controller says."""
    vm = SuperVM.with_accounts(100, balance=10**6, features=["adaptive-partition", *PATHS], threads=1)
    limits = Limits(Sizing(1, 1, 50), Sizing(16, 2, 400))
    intake = Intake(vm, batch_size=50, limits=limits)
    intake.offer(transfers(20_000, accounts=100))
    sizes = [len(step.executed[0].batch) for step in intake.drain()]
    assert intake.adaptive is not None
    assert max(sizes) > 50
    assert intake.sizing.partitions == vm.partitions
    assert intake.sizing.workers == vm.threads


def test_prediction_learns_from_what_is_executed() -> None:
    vm = SuperVM.with_accounts(100_000, balance=10**6, slots=100_000, features=["experimental-predictor", *PATHS])
    intake = Intake(vm, batch_size=1_000)
    batch = calls(10_000, accounts=100_000, slots=100_000, program="digest")
    arguments = batch.arguments.copy()
    arguments[::3, 0] = 7
    intake.offer(Batch(batch.kind, batch.sender, batch.receiver, arguments=arguments, programs=batch.programs))
    lanes = [[len(each.batch) for each in step.executed] for step in intake.drain()]
    assert intake.prediction is not None
    assert intake.prediction.seen == 10_000
    assert len(lanes[0]) == 1
    assert all(len(step) == 2 for step in lanes[3:])
    assert intake.prediction.score.accuracy > 0.9


def test_room_is_limited_and_who_finds_none_is_named() -> None:
    intake = Intake(SuperVM.with_accounts(9, balance=100), room=4)
    _, refused = intake.offer(transfers(6, accounts=9))
    assert refused.tickets.tolist() == [4, 5]
    assert len(intake) == 4
    assert intake.refusals["too many transactions wait"] == 2
    assert sum(len(each.batch) for step in intake.drain() for each in step.executed) == 4


def test_nothing_waits_forever_in_an_empty_intake() -> None:
    intake = Intake(SuperVM(state(Random(0))))
    assert list(intake.drain()) == []
    assert intake.step().executed == ()
    assert intake.idle_for == float("inf")
    intake.offer(Batch.of([]))
    assert len(intake) == 0


@pytest.mark.parametrize(
    ("due", "says"),
    [
        ([1, 2], r"3 transactions were due at times of shape \(2,\)"),
        (0.5, "type float64; whole nanoseconds are wanted"),
        (2**62, f"a transaction is due at {2**62} and it is .* now; offer it when it is"),
    ],
)
def test_times_that_cannot_be_are_refused(due: object, says: str) -> None:
    intake = Intake(SuperVM.with_accounts(9, balance=100))
    with pytest.raises(BatchError, match=says):
        intake.offer(transfers(3, accounts=9), due=due)
    assert len(intake) == 0


def test_settings_without_a_meaning_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    vm = SuperVM.with_accounts(9)
    with pytest.raises(SettingError, match="batch_size is 0"):
        Intake(vm, batch_size=0)
    monkeypatch.setenv("FASTPATH_MAX_RETRIES", "many")
    with pytest.raises(SettingError, match="FASTPATH_MAX_RETRIES is 'many'"):
        Intake(vm)


@given(st.lists(st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), max_size=8), max_size=5))
def test_meetings_are_those_of_the_readable_count(batches: list[list[list[int]]]) -> None:
    """Batch by batch on one table; keys above its end belong to no ledger."""
    counted = Meetings(8)
    for rows in batches:
        keys = np.array(rows, np.uint64).reshape(-1, 3)
        known = [{key for key in row if key < 8} for row in rows]
        expected = [any(mine & other for j, other in enumerate(known) if j != i) for i, mine in enumerate(known)]
        assert counted.of(keys).tolist() == expected


def test_meetings_go_on_when_their_numbers_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meetings, "MOST", 5)
    counted = Meetings(9)
    for _ in range(4):
        assert counted.of(np.array([[1, 2], [2, 3], [4, 5]], np.uint64)).tolist() == [True, True, False]
