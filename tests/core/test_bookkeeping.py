"""The books are right: every transaction is counted once, under its partition, its way and its times.

If these fail, dashboards and latency figures tell of an executor that does not exist.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervm_core.engine import SLOW, SuperVM
from supervm_core.errors import StalledError
from supervm_core.execution import bookkeeping, ordered, partitioned, router
from supervm_core.execution.bookkeeping import MICRO_BATCH, Book, Notes
from supervm_core.machine import crew
from supervm_core.machine.crew import Effort
from supervm_core.state import State
from supervm_core.telemetry.counters import Count, Counters, Work
from supervm_core.telemetry.histogram import LONGEST, Latencies
from supervm_core.transactions import Batch, Kind, Receipts
from supervm_core.workloads import calls, mixed, transfers

BOTH = "partitioned-fastpath", "consensus-optimizations"


def counts(counters: Counters, count: Count) -> list[int]:
    return counters.partitions[:, count].tolist()


def noted(rows: list[tuple[int, int, int]]) -> Notes:
    """Notes of a batch that arrived at 1,000."""
    notes = Notes(1_000, stamped=True)
    notes._rows.append(np.array(rows, np.uint64).reshape(-1, 3))
    return notes


def nobody(transactions: int = 0) -> Batch:
    return Batch(np.full(transactions, Kind.TRANSFER, np.uint8), 0, 0)


TIME = st.integers(0, 300) | st.integers(0, 2 * LONGEST)


@given(st.lists(st.tuples(TIME, TIME, st.integers(1, 1_000)), max_size=20))
def test_times_are_entered_as_a_histogram_enters_them(times: list[tuple[int, int, int]]) -> None:
    """The compiled rows equal the readable ones, cell by cell."""
    latencies, expected = Latencies(), Latencies()
    counters = Counters(1, 1)
    notes = noted([(1_000 + wait, 1_000 + wait + service, size) for wait, service, size in times])
    Book(counters, 1, latencies, SLOW).enter(notes, nobody(), 1)
    for wait, service, size in times:
        expected.wait.record(wait, size)
        expected.service.record(service, size)
        expected.response.record(wait + service, size)
    assert latencies.cells.tolist() == expected.cells.tolist()
    assert counts(counters, Count.SLOW) == [sum(n for wait, service, n in times if wait + service > SLOW * 1e9)]


@given(
    st.integers(1, 5_000), st.integers(1, 40), st.lists(st.integers(0, 2**32 - 1) | st.integers(0, 5_000), max_size=50)
)
def test_each_transaction_is_counted_in_its_senders_partition(
    accounts: int, partitions: int, senders: list[int]
) -> None:
    """Partitions are the equal ranges of `PartitionedPath`; who does not exist belongs to the last."""
    counters = Counters(partitions, 1)
    batch = Batch(Kind.TRANSFER, np.array(senders, np.uint32), 0) if senders else nobody()
    notes = Notes.unwanted()
    notes.in_order = False
    places = np.arange(len(senders), dtype=np.uint32)
    notes.rest, notes.waited = [places[:5], places[5:7]], [places[2:]]
    Book(counters, partitions, None, SLOW).enter(notes, batch, accounts)
    first = [partition * accounts // partitions for partition in range(partitions)]
    homes = [max(p for p in range(partitions) if first[p] <= sender) for sender in senders]
    for count, mine in [
        (Count.TRANSACTIONS, homes),
        (Count.BATCH_SIZE, homes),
        (Count.ORDERED, homes[:7]),
        (Count.FAST, homes[7:]),
        (Count.CONFLICTS, homes[2:]),
    ]:
        assert counts(counters, count) == [mine.count(p) for p in range(partitions)], count.name
    assert counts(counters, Count.BATCHES) == [int(p in homes) for p in range(partitions)]


@pytest.mark.parametrize("size", [0, 1, MICRO_BATCH - 1, MICRO_BATCH, MICRO_BATCH + 1, 3 * MICRO_BATCH])
@pytest.mark.parametrize("executed", ["sequentially", "in order", "side by side"])
def test_stamps_cover_each_transaction_once_and_lie_within_the_batch(
    size: int, executed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in [(router, "SMALL"), (partitioned, "SHARD"), (ordered, "TASK")]:
        monkeypatch.setattr(module, name, 1)
    features = () if executed == "sequentially" else BOTH
    vm = SuperVM.with_accounts(5_000, balance=10**9, slots=50, features=features, threads=2)
    seen: list[Notes] = []
    enter = Book.enter
    monkeypatch.setattr(Book, "enter", lambda self, notes, *rest: (seen.append(notes), enter(self, notes, *rest))[1])
    batch = calls(size, accounts=5_000, slots=50) if executed == "in order" else transfers(size, accounts=5_000)
    began = bookkeeping.now()
    vm.execute(batch)
    ended = bookkeeping.now()
    rows = seen[0].rows().tolist()
    assert sum(transactions for *_, transactions in rows) == size
    assert all(began <= start <= end <= ended for start, end, _ in rows)
    assert vm.latencies is not None
    assert vm.latencies.response.total == vm.latencies.wait.total == vm.latencies.service.total == size


def test_executor_that_is_told_not_to_stamp_counts_all_the_same() -> None:
    vm = SuperVM.with_accounts(50, balance=100, features=["-latency-quantiles"])
    vm.execute(transfers(1_000, accounts=50))
    assert vm.latencies is None
    assert vm.counters.snapshot().total(Count.TRANSACTIONS) == 1_000


@pytest.mark.parametrize(
    ("batch", "fast"),
    [
        (transfers(600, accounts=5_000), 600),
        (calls(600, accounts=5_000, slots=5_000), 600),
        (calls(600, accounts=5_000, slots=2), 0),
        (mixed(100, accounts=5_000, slots=90), 0),
    ],
)
def test_ways_are_told_apart(batch: Batch, fast: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Side by side as far as transactions touch nothing in common; two slots are one pool, in which everybody waits."""
    for module, name, value in [(router, "SMALL", 512), (partitioned, "SHARD", 1)]:
        monkeypatch.setattr(module, name, value)
    vm = SuperVM.with_accounts(5_000, balance=10**9, slots=5_000, features=BOTH, partitions=4, threads=2)
    vm.execute(batch)
    snapshot = vm.counters.snapshot()
    assert snapshot.total(Count.TRANSACTIONS) == len(batch)
    if fast:
        assert snapshot.total(Count.FAST) > 0.5 * fast
        assert snapshot.total(Count.CONFLICTS) < 0.5 * fast
    else:
        assert snapshot.total(Count.FAST) == 0
    assert (snapshot.partitions[:, Count.TRANSACTIONS] > 0).all()
    assert snapshot.workers[0, Work.CPU] > 0


def test_those_who_waited_are_named_window_by_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows are sorted into two places in turns: who kept a view would count later windows under earlier names."""
    monkeypatch.setattr(ordered, "WINDOW", 1_024)
    batch = calls(5 * 1_024, accounts=10_000, slots=10_000, program="digest")
    arguments = batch.arguments.copy()
    arguments[::3, 0] = 7
    batch = Batch(batch.kind, batch.sender, batch.receiver, arguments=arguments, programs=batch.programs)
    state, notes = State.with_accounts(10_000, balance=9, slots=10_000), Notes.unwanted()
    ordered.OrderedPath(2).execute(state, batch, notes)
    places = np.concatenate(notes.waited).tolist()
    assert len(set(places)) == len(places)
    assert [place // 1_024 for place in places] == sorted(place // 1_024 for place in places)
    hot = set(range(0, 5 * 1_024, 3)) - {min(range(w * 1_024 + -w * 1_024 % 3, (w + 1) * 1_024, 3)) for w in range(5)}
    assert set(places) >= hot


def test_workers_are_those_that_there_are_when_work_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was bound to one core when it made the ledger may have more of them later."""
    monkeypatch.setattr(router, "SMALL", 1)
    monkeypatch.setattr(crew, "cores", lambda: 1)
    vm = SuperVM.with_accounts(5_000, balance=10**9, slots=5_000, features=BOTH)
    monkeypatch.setattr(crew, "cores", lambda: 3)
    vm.execute(calls(3_000, accounts=5_000, slots=5_000))
    assert len(vm.counters.workers) == 3
    assert vm.counters.snapshot().total(Count.TRANSACTIONS) == 3_000


def test_counting_goes_on_when_partitions_change() -> None:
    vm = SuperVM.with_accounts(500, balance=10**9, features=BOTH, partitions=2)
    batch = transfers(100, accounts=500)
    for partitions in (2, 5, 3):
        vm.configure(partitions=partitions, threads=None)
        vm.execute(batch)
    snapshot = vm.counters.snapshot()
    assert snapshot.total(Count.TRANSACTIONS) == 300
    assert len(snapshot.partitions) == 5
    assert snapshot.total(Count.BATCH_SIZE) == 100


def test_cpu_time_of_helpers_is_added_up() -> None:
    notes = Notes.unwanted()
    notes.helped(Effort((1, 1), (100, 20)))
    notes.helped(Effort((1, 1, 1), (100, 3, 4)))
    caller, *helpers = notes.cpu_ns()
    assert helpers == [23, 4]
    assert caller < 10**9


def test_executor_that_stalled_goes_on_with_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router, "SMALL", 1)
    monkeypatch.setattr(partitioned, "SHARD", 1)
    vm = SuperVM.with_accounts(50, balance=10**9, features=BOTH, threads=2)
    batch = transfers(600, accounts=50)

    def stall(*_: object) -> None:
        raise StalledError("nothing moves")

    with monkeypatch.context() as patch:
        patch.setattr(partitioned.Crew, "run", stall)
        with pytest.raises(StalledError):
            vm.execute(batch)
        vm.reset()
        exact = SuperVM(vm.state, executor="reference")
        assert vm.execute(batch) == exact.execute(batch)
        assert vm.state == exact.state


def test_executor_takes_the_way_that_pays_and_tries_others_with_a_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock says that the first way takes ten times as long as the last: after some batches, all go that one."""
    for name, value in [("SMALL", 1), ("TRIAL", 50)]:
        monkeypatch.setattr(router, name, value)
    gone: list[tuple[int, int]] = []
    clock = [0.0]
    vm = SuperVM.with_accounts(500, balance=10**9, slots=500, features=BOTH, threads=2)
    specified = SuperVM(vm.state, executor="reference")
    vm.execute(transfers(1, accounts=500))
    specified.execute(transfers(1, accounts=500))
    choice = vm._execute.__self__._calls

    def slow(way: int, real: router.Way) -> router.Way:
        def execute(state: State, batch: Batch, notes: Notes) -> Receipts:
            gone.append((way, len(batch)))
            clock[0] += (10.0, 5.0, 1.0)[way] * len(batch)
            return real(state, batch, notes)

        return execute

    choice.ways = [slow(way, real) for way, real in enumerate(choice.ways)]
    monkeypatch.setattr(router.time, "perf_counter", lambda: clock[0])
    for seed in range(60):
        batch = calls(300, accounts=500, slots=500, seed=seed)
        assert vm.execute(batch) == specified.execute(batch)
        assert vm.state == specified.state
    assert gone[:2] == [(0, 300), (0, 300)]
    assert {way for way, _ in gone} == {0, 1, 2}
    assert all(way == 2 or size == 50 for way, size in gone[12:])
    assert [way for way, _ in gone[12:]].count(2) > 50
    assert vm.counters.snapshot().total(Count.TRANSACTIONS) == 60 * 300 + 1
