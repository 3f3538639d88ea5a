"""The ordered path keeps every order that matters, and equals the specification whatever the conflicts.

If these fail, transactions see each other's changes in another order than that of the batch.
"""

from __future__ import annotations

from itertools import product
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervm_core import reference
from supervm_core.columns import UINT64_MAX
from supervm_core.execution import conflicts, lockstep, ordered
from supervm_core.execution.footprints import MOST_ORIGINS, Origin, Source, Touch, footprint, keys
from supervm_core.execution.ordered import OrderedPath
from supervm_core.programs import MAXIMUM_GAS, OPERATIONS, Op, Operand, Program, assemble
from supervm_core.state import State
from supervm_core.transactions import Batch, Kind, Status, Transaction
from supervm_core.workloads import CAPPED_MINT, SWAP, calls, mixed

from .equality import assert_equal_executions
from .ledgers import EDGES, SEARCH, areas, ledger, ledgers


class Touched(reference.Draft):
    """A draft that remembers what was touched, in the form of `places`."""

    log: set[tuple[bool, int]]

    def reach(self, account: int) -> None:
        super().reach(account)
        self.log.add((False, account))

    def reach_slot(self, slot: int) -> None:
        super().reach_slot(slot)
        self.log.add((True, slot))


def touched(state: State, batch: Batch) -> list[set[tuple[bool, int]]]:
    """What each transaction of the batch touched when it was executed as specified."""
    logs = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference, "Draft", Touched)
        for row in batch.transactions():
            Touched.log = set()
            reference.apply(state, row, batch.programs, batch.lists)
            logs.append(Touched.log)
    return logs


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several windows in a batch that the specification executes in time, and levels that two threads share."""
    monkeypatch.setattr(ordered, "WINDOW", 300)
    monkeypatch.setattr(ordered, "TASK", 64)


class Kept:
    """How many transactions were left by the lockstep kernel, and how many it was given."""

    given = left = 0

    @classmethod
    def watch(cls, patch: pytest.MonkeyPatch) -> type[Kept]:
        cls.given = cls.left = 0

        def run(*arguments: np.ndarray) -> None:
            lockstep.run_in_lockstep(*arguments)
            cls.given += arguments[3].size
            cls.left += int(arguments[-1][0])

        patch.setattr(ordered, "run_in_lockstep", run)
        return cls


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("threads", [1, 2])
def test_ordered_path_equals_specification_from_no_conflict_to_nothing_else(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept.watch(monkeypatch)
    path = OrderedPath(threads)
    statuses: set[Status] = set()
    for seed in range(30):
        choose = Random(1000 * threads + seed)
        state, batch = areas(choose, choose.choice([300, 650]), choose.choice([0, 0, 0.05, 0.5, 1]))
        receipts = assert_equal_executions(state, batch, path.execute)
        statuses.update(Status(status) for status in receipts.status)
    assert statuses == set(Status), "a path that never sees a status proves nothing about it"
    assert kept.given - kept.left > 1_000, "nearly nothing ran in lockstep"
    assert kept.left > 1_000, "nearly nothing was left to the scalar kernel"


@pytest.mark.usefixtures("small_windows")
@settings(SEARCH, max_examples=25)
@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.02, 0.3]))
def test_ordered_path_equals_specification(seed: int, shared: float) -> None:
    assert_equal_executions(*areas(Random(seed), 280, shared), OrderedPath(2).execute)


def test_ordered_path_equals_specification_on_ledgers_where_all_collides() -> None:
    path = OrderedPath(2)
    choose = Random(5)
    for _ in range(12):
        assert_equal_executions(*ledger(choose, size=300), path.execute)


@pytest.mark.parametrize(
    "batch",
    [
        calls(700, accounts=3_000, slots=3_000, nonces="strict"),
        calls(700, accounts=3_000, slots=12, nonces="strict"),
        calls(700, accounts=3_000, slots=600, program="capped_mint"),
        mixed(900, accounts=3_000, slots=1_000, seed=3, nonces="strict"),
    ],
    ids=["far apart", "few pools", "capped mint", "mixed"],
)
@pytest.mark.usefixtures("small_windows")
def test_ordered_path_equals_specification_on_workloads(batch: Batch) -> None:
    state = State(np.arange(3_000) % 90, storage=np.zeros(3_000, np.uint64))
    receipts = assert_equal_executions(state, batch, OrderedPath(2).execute)
    assert (receipts.status == Status.SUCCESS).any()


@pytest.mark.parametrize("sample", [10, 10_000], ids=["the sample decides", "no window is sampled"])
def test_hot_place_makes_a_window_sequential(sample: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sorting what waits for one place anyway would only cost."""
    monkeypatch.setattr(ordered, "SAMPLE", sample)
    kept = Kept.watch(monkeypatch)
    batch = calls(600, accounts=3_000, slots=2)
    assert_equal_executions(State.with_accounts(3_000, slots=2), batch, OrderedPath(2).execute)
    assert kept.given == 0


@pytest.mark.usefixtures("small_windows")
def test_levels_are_counted_anew_before_they_run_out() -> None:
    """A level that wrapped would let transactions overtake each other."""
    path = OrderedPath(2)
    choose = Random(8)
    state, batch = areas(choose, 600, 0.2)
    path.execute(state.copy(), batch)
    path._floor[0] = conflicts.HIGHEST_LEVEL - 100
    assert_equal_executions(state, batch, path.execute)
    assert path._floor[0] < 1_000


def test_ledger_may_change_between_batches() -> None:
    """The tables of levels belong to the path and know nothing of ledgers, whether larger or smaller."""
    path = OrderedPath(2)
    for size in (300, 500, 280):
        assert_equal_executions(*areas(Random(size), size, 0.1), path.execute)


@pytest.mark.parametrize("write", ["store r1, r2", "pay r3, r2"])
@pytest.mark.parametrize("gas_limit", [10_000, MAXIMUM_GAS])
def test_call_with_more_writes_than_a_block_remembers_is_undone_and_done_again(write: str, gas_limit: int) -> None:
    program = assemble(f"""
                argument r1, 0
                argument r3, 1
                set      r2, 1
        again:  {write}
                jump_if  r2, again
    """)
    own = np.arange(300, dtype=np.uint64)
    batch = Batch(
        np.full(300, Kind.CALL), 2 * own, 2 * own, gas_limit=np.where(own == 7, gas_limit, 500),
        arguments=np.stack([own, 2 * own + 1, own, own], axis=1), programs=[program],
    )  # fmt: skip
    assert lockstep.LOG_ROWS < 10_000 // 21
    assert_equal_executions(State.with_accounts(600, balance=1_000_000, slots=300), batch, OrderedPath(1).execute)


BINARY = [op for op in Op if OPERATIONS[op].operands == (Operand.DST, Operand.A, Operand.B)]


@pytest.mark.parametrize("op", BINARY, ids=[op.name.lower() for op in BINARY])
def test_lanes_compute_as_specified_at_every_edge(op: Op) -> None:
    """Random operands seldom meet where a product or a shift goes wrong; lanes whose result overflows must be left."""
    numbers = [*range(4), 2**31, 2**32 + 1, UINT64_MAX // 3, UINT64_MAX // 3 + 1, UINT64_MAX // 2**32, *EDGES]
    pairs = list(product(numbers, repeat=2))
    own = np.arange(len(pairs), dtype=np.uint64)
    batch = Batch(
        np.full(len(pairs), Kind.CALL), own, own,
        arguments=[[place, a, b, 0] for place, (a, b) in enumerate(pairs)],
        programs=[assemble(
            f"argument r0, 0 \n argument r1, 1 \n argument r2, 2 \n {op.name.lower()} r3, r1, r2 \n store r0, r3"
        )],
    )  # fmt: skip
    state = State.with_accounts(len(pairs), slots=len(pairs))
    with pytest.MonkeyPatch.context() as patch:
        kept = Kept.watch(patch)
        receipts = assert_equal_executions(state, batch, OrderedPath(1).execute)
        assert kept.given == len(pairs)
        assert kept.left == receipts.failed


def test_lanes_that_part_ways_are_told_apart() -> None:
    """Also where they part in equal halves, and where those that cannot pay are not those that were first."""
    program = assemble("""
                    argument    r0, 0
                    argument    r1, 1
                    jump_unless r1, other
                    store       r0, r1
                    store       r0, r1
                    stop
            other:  set         r2, 9
                    store       r0, r2
    """)
    own = np.arange(512, dtype=np.uint64)
    for modulus in (2, 3, 512):
        batch = Batch(
            np.full(512, Kind.CALL), own, own, gas_limit=np.where(own % 5 == 0, 30, 100),
            arguments=np.stack([own, own % modulus, own, own], axis=1), programs=[program],
        )  # fmt: skip
        assert_equal_executions(State.with_accounts(512, slots=512), batch, OrderedPath(1).execute)


# Levels


@pytest.mark.parametrize("shared", [0, 0.01, 0.1, 1])
def test_order_exchanges_only_what_touches_nothing_in_common(shared: float) -> None:
    choose = Random(int(shared * 100))
    state, batch = areas(choose, 1_500, shared)
    order, ends = _sorted(state, batch)
    assert sorted(order.tolist()) == list(range(len(batch)))
    touches = touched(state, batch)
    _assert_order_of_dependency(touches, order.tolist())
    for start, end in zip([0, *ends], ends, strict=False):
        assert end - start >= conflicts.NARROW
        seen: set[tuple[bool, int]] = set()
        for t in order[start:end].tolist():
            assert not seen & touches[t], "two of one level touch the same place"
            seen |= touches[t]
    rest = order[ends[-1] if ends else 0 :]
    assert (np.diff(rest.astype(np.int64)) > 0).all()
    assert bool(ends) == (shared < 1)


def test_call_that_may_touch_anything_is_a_wall() -> None:
    """Nothing may pass it in either direction, even what touches nothing that was touched before."""
    unknown = assemble("argument r0, 0 \n argument r1, 1 \n add r0, r0, r1 \n store r0, r1")
    rows = [Transaction(Kind.TRANSFER, place, place) for place in range(900)]
    rows[400] = Transaction(Kind.CALL, 400, 400, arguments=(1, 2, 0, 0))
    state = State.with_accounts(900, slots=900)
    order, _ = _sorted(state, Batch.of(rows, [unknown]))
    at = order.tolist().index(400)
    assert set(order[:at].tolist()) == set(range(400))
    declared = Batch.of([row._replace(access=0) for row in rows], [unknown])
    assert len(_sorted(state, declared)[1]) == 1, "an access list removes the wall"


def _sorted(state: State, batch: Batch) -> tuple[np.ndarray, list[int]]:
    path = OrderedPath(1)
    path._make_room(state)
    return path._sort(batch, ordered.Footprints.of(batch.programs), 0, len(batch), 0)


def _assert_order_of_dependency(touches: list[set[tuple[bool, int]]], order: list[int]) -> None:
    """Whoever touches a place comes after everyone who touched it before in the batch."""
    latest: dict[tuple[bool, int], int] = {}
    for t in order:
        for place in touches[t]:
            assert latest.get(place, -1) < t
            latest[place] = t


# Footprints


def test_places_found_in_the_transaction_are_a_footprint() -> None:
    assert footprint(SWAP) == {Touch(True, Origin(Source.ARGUMENT, 0)), Touch(True, Origin(Source.ARGUMENT, 1))}
    assert footprint(CAPPED_MINT) is None
    assert footprint(assemble("sender r0 \n balance r1, r0 \n load r2, r0 \n set r3, 7 \n pay r3, r2")) == {
        Touch(True, Origin(Source.SENDER)),
        Touch(False, Origin(Source.CONSTANT, 7)),
    }


def test_places_from_several_ways_are_united() -> None:
    assert footprint(
        assemble("""
                    argument r0, 0
                    jump_if  r0, on
                    move     r5, r6
                    argument r5, 2
            on:     load     r1, r5
        """)
    ) == {Touch(True, Origin(Source.CONSTANT)), Touch(True, Origin(Source.ARGUMENT, 2))}


def test_place_of_too_many_origins_is_unknown() -> None:
    ways = "".join(f"jump_if r0, on{n} \n set r1, {n + 1} \n jump end \n on{n}: \n" for n in range(MOST_ORIGINS))
    assert footprint(assemble(f"{ways} end: load r2, r1")) is None


@pytest.mark.parametrize(
    "program", [Program([]), assemble("stop \n load r0, r1"), assemble("jump end \n load r1, r1 \n end:")]
)
def test_what_is_never_reached_is_never_touched(program: Program) -> None:
    assert footprint(program) == frozenset()


@settings(SEARCH, max_examples=300)
@given(ledgers())
def test_calls_touch_nothing_outside_their_footprint(searched: tuple[State, Batch]) -> None:
    """Otherwise two calls that share a place could run side by side."""
    state, batch = searched
    for row, places in zip(batch.transactions(), touched(state, batch), strict=True):
        if row.kind != Kind.CALL or row.program >= len(batch.programs):
            continue
        allowed = footprint(batch.programs[row.program])
        if allowed is not None:
            assert places <= {(False, row.sender), (False, row.receiver)} | {_place(touch, row) for touch in allowed}


@settings(SEARCH, max_examples=100)
@given(ledgers(), st.integers(2, 8))
def test_keys_are_places_that_transactions_may_touch(searched: tuple[State, Batch], width: int) -> None:
    """What controllers learn from would else be other accounts' doings."""
    state, batch = searched
    for row, found in zip(batch.transactions(), keys(batch, state.accounts, width).tolist(), strict=True):
        assert found[:2] == [row.sender, row.receiver]
        allowed = {row.sender, row.receiver}
        if row.kind == Kind.CALL and row.program < len(batch.programs):
            touches = [_place(touch, row) for touch in footprint(batch.programs[row.program]) or ()]
            places = {(number + state.accounts * is_slot) % 2**64 for is_slot, number in touches}
            assert len(places & set(found)) >= min(len(places), 1) * (width > 2)
            allowed |= places
        assert set(found) <= allowed


def _place(touch: Touch, row: Transaction) -> tuple[bool, int]:
    source, value = touch.origin
    numbers = {
        Source.CONSTANT: value,
        Source.ARGUMENT: row.arguments[value % 4],
        Source.SENDER: row.sender,
        Source.RECEIVER: row.receiver,
    }
    return touch.is_slot, numbers[source]
