"""Batches take what can be taken exactly and refuse the rest by name; receipts count."""

from __future__ import annotations

import pickle
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervm_core import reference
from supervm_core.access import AccessList, AccessLists
from supervm_core.columns import UINT64_MAX
from supervm_core.errors import BatchError, SuperVMError
from supervm_core.programs import MAXIMUM_GAS, assemble
from supervm_core.transactions import ANY_NONCE, COLUMN_TYPES, Batch, Kind, Receipts, Status, Transaction

from .ledgers import SEARCH, ledgers, state
from .ledgers import batch as any_batch


def test_single_numbers_stand_for_whole_columns() -> None:
    batch = Batch(Kind.BURN, sender=[3, 4], receiver=0, amount=np.array([5, 6], np.int16))
    assert list(batch.transactions()) == [
        Transaction(Kind.BURN, 3, 0, 5, ANY_NONCE, 0, MAXIMUM_GAS, (0, 0, 0, 0)),
        Transaction(Kind.BURN, 4, 0, 6, ANY_NONCE, 0, MAXIMUM_GAS, (0, 0, 0, 0)),
    ]


def test_columns_are_what_kernels_read() -> None:
    """Contiguous, aligned, in the machine's byte order, and not to be written."""
    batch = Batch(
        np.zeros(9, ">u4")[::3],
        np.arange(9).reshape(3, 3)[:, 1],
        np.frombuffer(b"-" + bytes(12), "<u4", offset=1),
        np.array([1, 2**63, UINT64_MAX], dtype=object),
        arguments=np.asfortranarray(np.arange(12).reshape(3, 4)),
    )
    for name, dtype in COLUMN_TYPES.items():
        column = getattr(batch, name)
        assert column.dtype == dtype
        assert column.dtype.isnative
        assert column.flags.c_contiguous
        assert column.flags.aligned
        assert not column.flags.writeable
    assert batch.amount.tolist() == [1, 2**63, UINT64_MAX]
    assert batch.arguments[2].tolist() == [8, 9, 10, 11]


def test_fitting_array_is_shared_and_stays_writable_for_its_owner() -> None:
    amount = np.array([1, 2], np.uint64)
    batch = Batch(Kind.MINT, 0, 0, amount)
    assert np.shares_memory(batch.amount, amount)
    amount[0] = 7


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"sender": [0, 1], "receiver": [0, 1, 2]}, "differ in length: sender 2, receiver 3"),
        ({"sender": [0, 1], "arguments": np.zeros((3, 4), int)}, "differ in length: sender 2, arguments 3"),
        ({"amount": [0, 1, -1]}, "'amount' holds -1 at position 2, outside 0..18446744073709551615"),
        ({"amount": np.array([3, -2])}, "'amount' holds -2 at position 1"),
        ({"amount": [2**64]}, "'amount' holds 18446744073709551616 at position 0"),
        ({"kind": [1, 256]}, "'kind' holds 256 at position 1, outside 0..255 .uint8."),
        ({"sender": np.array([2**32])}, "'sender' holds 4294967296 at position 0"),
        ({"amount": [1.0]}, "'amount' holds 1.0 at position 0; integers are wanted"),
        ({"amount": np.array([1.0])}, "'amount' has type float64; integers are wanted"),
        ({"amount": [True]}, "'amount' holds True at position 0; integers are wanted"),
        ({"amount": np.array([True])}, "'amount' has type bool; integers are wanted"),
        ({"amount": ["1"]}, "'amount' holds '1' at position 0; integers are wanted"),
        ({"amount": None}, "'amount' holds None at position 0; integers are wanted"),
        ({"amount": [[1, 2]]}, r"'amount' has shape \(1, 2\); \(n,\) or \(\) is wanted"),
        ({"amount": [[1], [2, 3]]}, r"'amount' holds \[1\] at position 0; integers are wanted"),
        ({"amount": [np.zeros((2, 2)), np.zeros((2, 3))]}, "'amount' is ragged: its rows differ in length"),
        ({"arguments": [1, 2, 3]}, r"'arguments' has shape \(3,\); \(n, 4\) or \(4,\) is wanted"),
        ({"arguments": 1}, r"'arguments' has shape \(\)"),
    ],
)
def test_unfit_columns_are_refused_by_name(columns: dict[str, object], message: str) -> None:
    with pytest.raises(BatchError, match=message) as refusal:
        Batch(**{"kind": Kind.TRANSFER, "sender": 0, "receiver": 0, **columns})
    assert isinstance(refusal.value, SuperVMError)
    assert isinstance(refusal.value, ValueError)


@SEARCH
@given(ledgers())
def test_rows_and_columns_say_the_same(searched: tuple[object, Batch]) -> None:
    _, batch = searched
    again = Batch.of(batch.transactions(), batch.programs, batch.lists)
    for name in COLUMN_TYPES:
        np.testing.assert_array_equal(getattr(again, name), getattr(batch, name))


@pytest.mark.parametrize("empty", [Batch.of([]), Batch(0, 0, 0)[0:0], Batch([], [], [])])
def test_batch_may_be_empty(empty: Batch) -> None:
    assert len(empty) == 0
    assert empty.arguments.shape == (0, 4)
    assert list(empty.transactions()) == []


def test_slice_is_a_batch() -> None:
    batch = Batch(Kind.MINT, 0, 0, np.arange(10), programs=[assemble("stop")])
    assert batch[8:2:-2].amount.tolist() == [8, 6, 4]
    assert batch[:3].programs == batch.programs


def test_transactions_are_picked_by_their_places() -> None:
    batch = Batch(Kind.MINT, 0, 0, np.arange(10), programs=[assemble("stop")])
    assert batch[np.array([7, 1, 1])].amount.tolist() == [7, 1, 1]


@settings(SEARCH, max_examples=60)
@given(st.lists(st.randoms(use_true_random=False), max_size=3))
def test_joined_batches_do_what_they_did_one_after_the_other(chances: list[Random]) -> None:
    """Each transaction keeps its program and its access list, also one that does not exist."""
    before = state(chances[0] if chances else Random(0))
    batches = [any_batch(chance, before, 8) for chance in chances]
    together, apart = before.copy(), before.copy()
    receipts = reference.execute(together, Batch.joined(batches))
    expected = [reference.execute(apart, batch) for batch in batches]
    assert receipts.status.tolist() == [status for each in expected for status in each.status.tolist()]
    assert receipts.gas_used.tolist() == [gas for each in expected for gas in each.gas_used.tolist()]
    assert together == apart


def test_batches_of_one_origin_share_their_tables() -> None:
    """Picking and joining again and again must not let tables grow."""
    batch = Batch(Kind.CALL, 0, [1, 2], access=0, programs=[assemble("stop")], lists=AccessLists.of([AccessList((1,))]))
    joined = Batch.joined([batch[:1], batch[1:]])
    assert joined.programs is batch.programs
    assert joined.lists is batch.lists


def test_batch_survives_pickling() -> None:
    """Workers in other processes receive batches this way."""
    batch = Batch(Kind.CALL, 0, [1, 2], programs=[assemble("stop")])
    again = pickle.loads(pickle.dumps(batch))
    assert list(again.transactions()) == list(batch.transactions())
    assert again.programs == batch.programs


def test_receipts_count_by_name() -> None:
    receipts = Receipts(np.array([0, 5, 5, 12], np.uint8), np.zeros(4, np.uint64))
    assert receipts.failed == 3
    counts = receipts.counts()
    assert counts["insufficient balance"] == 2
    assert counts["reverted"] == 1
    assert counts["overflow"] == 0
    assert sum(counts.values()) == len(receipts) == 4
    assert repr(receipts) == "<Receipts of 4 transactions: 1 success, 2 insufficient balance, 1 reverted>"


@given(st.lists(st.sampled_from(Status)), st.lists(st.sampled_from(Status)))
def test_receipts_compare_by_contents(one: list[Status], other: list[Status]) -> None:
    def receipts(statuses: list[Status]) -> Receipts:
        return Receipts(np.array(statuses, np.uint8), np.zeros(len(statuses), np.uint64))

    assert (receipts(one) == receipts(other)) == (one == other)
    assert receipts(one) != one


@given(st.lists(st.tuples(st.lists(st.integers(0, UINT64_MAX)), st.lists(st.integers(0, UINT64_MAX)))))
def test_access_lists_keep_what_they_are_given_sorted(lists: list[tuple[list[int], list[int]]]) -> None:
    table = AccessLists.of(AccessList(tuple(accounts), tuple(slots)) for accounts, slots in lists)
    assert len(table) == len(lists)
    assert [table[place] for place in range(len(table))] == [
        (tuple(sorted(accounts)), tuple(sorted(slots))) for accounts, slots in lists
    ]


@pytest.mark.parametrize(
    ("counts", "places", "message"),
    [
        ([1, 1], [7], "count 2 places, and 1 are given"),
        ([2**63, 2**63], [], "count 18446744073709551616 places, and 0 are given"),
        ([1], [7], "counts of shape .1,. and places"),
        ([1, 0], [-1], "'access list places' holds -1 at position 0"),
    ],
)
def test_access_lists_that_do_not_add_up_are_refused(counts: list[int], places: list[int], message: str) -> None:
    with pytest.raises(BatchError, match=message):
        AccessLists(counts, places)
