"""The compiled kernel equals the specification: statuses, gas, state and root.

If these fail, a compiled executor gives people other balances than the specification promises.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import product
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings

from supervm_core import reference
from supervm_core.columns import UINT64_MAX
from supervm_core.execution import bookkeeping, conflicts, decoding, lockstep, meetings, ordered, owned, sequential
from supervm_core.programs import MAXIMUM_GAS, OPERATIONS, Instruction, Op, Operand, Program, assemble
from supervm_core.state import State
from supervm_core.transactions import Batch, Kind, Receipts, Status, Transaction
from supervm_core.workloads import calls, mixed, transfers

from .equality import assert_equal_executions
from .ledgers import EDGES, SEARCH, ledger, ledgers


def assert_kernel_equals_specification(state: State, batch: Batch) -> Receipts:
    return assert_equal_executions(state, batch, sequential.execute)


@settings(SEARCH, max_examples=500)
@given(ledgers())
def test_kernel_equals_specification(searched: tuple[State, Batch]) -> None:
    assert_kernel_equals_specification(*searched)


def test_kernel_equals_specification_on_a_mass_of_random_ledgers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also that the generator reaches everything: comparing batches that fail at the first door proves nothing."""
    statuses: set[Status] = set()
    operations: set[Op] = set()

    class Watched(dict[Op, reference.Action]):
        def __getitem__(self, op: Op) -> reference.Action:
            action = super().__getitem__(op)

            def watched(machine: reference.Machine, instruction: Instruction) -> None:
                action(machine, instruction)
                operations.add(op)

            return watched

    monkeypatch.setattr(reference, "INSTRUCTIONS", Watched(reference.INSTRUCTIONS))
    choose = Random(20)
    for _ in range(400):
        receipts = assert_kernel_equals_specification(*ledger(choose, size=40))
        statuses.update(Status(status) for status in receipts.status)
    assert statuses == set(Status)
    assert operations == set(Op) - {Op.REVERT}, "operations that never came to their end (revert never does)"


def test_kernel_computes_as_specified_at_every_edge() -> None:
    """Random operands seldom meet at the edges of 64 bits, where a product or a shift goes wrong."""
    numbers = [*range(4), 2**32 + 1, UINT64_MAX // 3, UINT64_MAX // 3 + 1, *EDGES]
    binary = [op for op in Op if OPERATIONS[op].operands == (Operand.DST, Operand.A, Operand.B)]
    programs = [
        assemble(f"argument r1, 0 \n argument r2, 1 \n {op.name.lower()} r3, r1, r2 \n store r0, r3") for op in binary
    ]
    state = State([0], storage=[0])
    # One batch for each pair, so that each result is seen before the next replaces it.
    for a, b in product(numbers, repeat=2):
        for place in range(len(programs)):
            batch = Batch(Kind.CALL, 0, 0, program=place, arguments=(a, b, 0, 0), programs=programs)
            assert_kernel_equals_specification(state, batch)


def scarce(accounts: int, slots: int) -> State:
    """Balances so low that about half of the transfers fail, and nearly full ones that overflow."""
    balances = np.full(accounts, 40, np.uint64)
    balances[:2] = 2**64 - 1
    return State(balances, storage=np.zeros(slots, np.uint64))


@pytest.mark.parametrize(
    "batch",
    [
        transfers(3_000, accounts=50, nonces="strict"),
        calls(1_000, accounts=50, slots=40, nonces="strict"),
        calls(200, accounts=50, slots=40, program="capped_mint"),
        mixed(3_000, accounts=50, slots=40, seed=3),
    ],
    ids=["transfers", "swaps", "capped mint", "mixed"],
)
def test_kernel_equals_specification_on_workloads(batch: Batch) -> None:
    receipts = assert_kernel_equals_specification(scarce(50, 40), batch)
    assert (receipts.status == Status.SUCCESS).any()


@pytest.mark.parametrize("write", ["store r1, r2", "pay r1, r2"])
def test_longest_possible_call_is_undone_completely(write: str) -> None:
    """The kernel's undo log has a fixed size; a call that does nothing but write must still fit into it."""
    endless = assemble(f"""
                    set   r1, 1
                    set   r2, 1
            again:  {write}
                    {write}
                    {write}
                    {write}
                    {write}
                    {write}
                    {write}
                    {write}
                    jump  again
    """)
    state = State([2**40, 0], storage=[5, 6])
    before = state.root()
    batch = Batch(Kind.CALL, 0, 0, 7, gas_limit=MAXIMUM_GAS, programs=[endless])
    receipts = assert_kernel_equals_specification(state, batch)
    assert receipts.counts()["out of gas"] == 1
    assert receipts.gas_used[0] > MAXIMUM_GAS - 20
    sequential.execute(state, batch)
    assert state.root() == before


def test_kernel_runs_in_threads_without_holding_the_interpreter() -> None:
    batch = mixed(20_000, accounts=500, slots=40)
    states = [scarce(500, 40) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        receipts = list(pool.map(sequential.execute, states, [batch] * 4))
    assert len({state.root() for state in states}) == 1
    assert all(each == receipts[0] for each in receipts)


KERNELS = {
    "sequential": sequential.kernel,
    "in order": ordered.execute_in_order,
    "levels": conflicts.sort_by_level,
    "lockstep": lockstep.run_in_lockstep,
    "owned": owned.run_owned,
    "receive": owned.receive,
    "take back": owned.take_back,
    "insert": decoding.insert,
    "lookup": decoding.lookup,
    "decode": decoding.decode,
    "books": bookkeeping._enter,
    "meetings": meetings._meet,
}


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_kernels_take_foreign_constants_through_their_closures_only(kernel: object) -> None:
    """numba keeps a cached kernel when a global of another module changes: a renumbered status would go unnoticed."""
    function = kernel.py_func
    named = {name: function.__globals__[name] for name in function.__code__.co_names if name in function.__globals__}
    here = {name for name, value in named.items() if getattr(value, "__module__", None) == function.__module__}
    assert set(named) - here <= {"np", "prefetch", "clock_gettime"}
    assert here <= {"_hashed"}


def test_every_operation_is_specified() -> None:
    assert set(reference.INSTRUCTIONS) == set(Op)


def test_kernel_was_compiled_for_one_signature() -> None:
    """A second one would mean seconds of compilation inside somebody's batch."""
    writable = Batch.of([Transaction(Kind.TRANSFER, 0, 0)], [Program([])])
    for name in ("kind", "sender", "amount", "arguments"):
        object.__setattr__(writable, name, getattr(writable, name).copy())
    sequential.execute(State([1]), writable)
    assert len(sequential.kernel.signatures) == 1
