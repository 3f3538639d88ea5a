"""The partitioned path equals the specification, whether it is certain of a batch or has to take it back.

If these fail, two shards together give people other balances than the batch's order would.
"""

from __future__ import annotations

from collections import Counter
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervm_core.engine import MOST_PARTITIONS
from supervm_core.execution import owned, partitioned
from supervm_core.execution.partitioned import Outcome, PartitionedPath
from supervm_core.machine import crew
from supervm_core.state import State
from supervm_core.transactions import Batch, Kind, Status, Transaction
from supervm_core.workloads import transfers

from .equality import assert_equal_executions
from .ledgers import SEARCH, payments


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many shards as are asked for, also for batches that the specification executes in time."""
    monkeypatch.setattr(partitioned, "SHARD", 1)


@settings(SEARCH, max_examples=400)
@given(
    st.randoms(use_true_random=False),
    st.integers(1, 12),
    st.integers(1, 5),
    st.sampled_from([0.0, 0.05, 0.5]),
    st.integers(1, 6),
    st.integers(1, 4),
)
def test_partitioned_path_equals_specification(
    choose: Random, size: int, accounts: int, edge: float, partitions: int, threads: int
) -> None:
    state, batch = payments(choose, size, accounts, edge)
    assert_equal_executions(state, batch, PartitionedPath(partitions, threads).execute)


def test_partitioned_path_equals_specification_on_a_mass_of_random_ledgers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also that every way through it was gone: an outcome that never occurs was not compared with anything."""
    taken_back: Counter[bool] = Counter()

    def take_back(*arguments: np.ndarray) -> None:
        taken_back[bool(arguments[-1][0])] += 1
        owned.take_back(*arguments)

    monkeypatch.setattr(partitioned, "take_back", take_back)
    certain, crossing = 0, 0
    statuses: set[Status] = set()
    choose = Random(3)
    for _ in range(400):
        state, batch = payments(choose, 60, choose.randint(2, 200), choose.choice([0, 0, 0.01]))
        path = PartitionedPath(choose.randint(2, 9), choose.randint(2, 4))
        receipts = assert_equal_executions(state, batch, path.execute)
        if path.outcome is not None and not path.outcome.uncertain:
            certain += 1
            crossing += path.outcome.crossing
            statuses.update(Status(status) for status in receipts.status)
    assert certain > 50
    assert crossing > 500
    assert taken_back[False] > 50, "no shard stopped on its way"
    assert taken_back[True] > 0, "no shard was in doubt about what it fetched"
    assert statuses == {
        Status.SUCCESS,
        Status.UNKNOWN_KIND,
        Status.UNKNOWN_ACCOUNT,
        Status.NONCE_MISMATCH,
        Status.NONCE_EXHAUSTED,
        Status.INSUFFICIENT_BALANCE,
    }


def pay(sender: int, receiver: int, amount: int, kind: Kind = Kind.TRANSFER) -> Transaction:
    return Transaction(kind, sender, receiver, amount)


HALF = 2**63
SITUATIONS = {
    "a debit that lives from a credit from elsewhere": ([0, 9], [pay(1, 0, 9), pay(0, 1, 9)], True),
    "the same before the credit": ([0, 9], [pay(0, 1, 9), pay(1, 0, 9)], False),
    "a debit that no credit could cover": ([0, 9], [pay(0, 1, 10**6), pay(1, 0, 9)], False),
    "a debit that nobody can cover": ([0, 9], [pay(1, 0, 9), pay(0, 1, 2**64 - 1)], False),
    "a credit that overflows": ([2**64 - 5, 9], [pay(1, 0, 9)], True),
    "a credit that overflows within a shard": ([9, 2**64 - 5, 0, 0], [pay(0, 1, 9)], True),
    "a burn that makes room for a credit": ([2**64 - 5, 9], [pay(0, 0, 9, Kind.BURN), pay(1, 0, 9)], True),
    "a rich receiver": ([HALF, 9], [pay(1, 0, 1)], True),
    "a mint beyond doubt": ([0, 0], [pay(1, 0, HALF - 1, Kind.MINT)], False),
    "a mint in doubt": ([0, 0], [pay(1, 0, HALF, Kind.MINT)], True),
    "mints that are too much together": ([0, 0], [pay(1, 0, HALF - 1, Kind.MINT), pay(0, 1, 1, Kind.MINT)], True),
    "funds that come too late": ([0, 9, 9], [pay(0, 2, 5), pay(1, 2, 9), pay(1, 0, 5), pay(2, 0, 9)], False),
    "a payment to oneself without funds": ([0, 0, 5, 5], [pay(0, 0, 1), pay(3, 2, 0)], False),
}


@pytest.mark.parametrize(("balances", "rows", "uncertain"), SITUATIONS.values(), ids=SITUATIONS)
def test_situation(balances: list[int], rows: list[Transaction], uncertain: bool) -> None:
    path = PartitionedPath(2, 2)
    assert_equal_executions(State(balances), Batch.of([*rows, pay(0, 0, 0)]), path.execute)
    assert path.outcome is not None
    assert path.outcome.shards == 2 or uncertain
    assert path.outcome.uncertain == uncertain


@pytest.mark.parametrize("partitions", [1, 2, 3, 8, MOST_PARTITIONS])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_partitions_are_not_threads(partitions: int, threads: int) -> None:
    batch = transfers(900, accounts=100, nonces="strict")
    path = PartitionedPath(partitions, threads)
    assert_equal_executions(State.with_accounts(100, balance=10**9), batch, path.execute)
    assert path.outcome is not None
    assert path.outcome.shards == min(partitions, threads)
    assert not path.outcome.uncertain


@pytest.mark.parametrize(("cores", "shards"), [(1, 1), (2, 1), (3, 3), (64, 8)])
def test_shards_are_used_where_there_are_cores_for_them(
    cores: int, shards: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two shards hardly gain over the sequential kernel, and lose where the cores are shared."""
    monkeypatch.setattr(crew, "cores", lambda: cores)
    path = PartitionedPath(8)
    path.execute(State.with_accounts(9, balance=10**9), transfers(100, accounts=9))
    assert path.outcome is not None
    assert path.outcome.shards == shards


def test_more_shards_than_accounts_are_possible() -> None:
    state = State([50])
    path = PartitionedPath(8, 8)
    assert_equal_executions(state, Batch.of([pay(0, 0, 5)] * 40), path.execute)
    assert_equal_executions(State([]), Batch.of([pay(0, 0, 5)] * 40), path.execute)


def test_small_batches_are_not_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitioned, "SHARD", 100)
    path = PartitionedPath(8, 8)
    for size, shards in [(0, 1), (199, 1), (200, 2), (799, 7), (9_000, 8)]:
        path.execute(State.with_accounts(9, balance=10**9), transfers(size, accounts=9))
        assert path.outcome == Outcome(shards, path.outcome.crossing, uncertain=False)


def test_shard_that_doubts_too_often_gives_up() -> None:
    """Looking through the batch for each of a million debits would take hours."""
    for doubts, uncertain in [(owned.MOST_DOUBTS, False), (owned.MOST_DOUBTS + 1, True)]:
        path = PartitionedPath(2, 2)
        rows = [*[pay(0, 0, 5)] * doubts, *[pay(1, 1, 0)] * 10, *[pay(1, 1, 9)]]
        assert_equal_executions(State([0, 9]), Batch.of(rows), path.execute)
        assert path.outcome == Outcome(2, 0, uncertain=uncertain)


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(HALF - 3, HALF + 3) | st.integers(0, 9)))
def test_amounts_are_added_without_losing_a_carry(amounts: list[int]) -> None:
    total = partitioned._amounts(np.array(amounts, np.uint64))
    assert total == sum(amount for amount in amounts if amount < HALF)
