"""What transactions do, case by case, for every executor: reads as the short version of the specification.

If one of these fails, the meaning of a batch has changed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervm_core import reference
from supervm_core.access import AccessList, AccessLists
from supervm_core.columns import UINT64_MAX
from supervm_core.execution import sequential
from supervm_core.programs import MAXIMUM_GAS, OPERATIONS, Instruction, Op, Program, assemble
from supervm_core.state import State
from supervm_core.transactions import ANY_NONCE, LAST_NONCE, Batch, Kind, Receipts, Status, Transaction

from .ledgers import SEARCH, ledgers

Execute = Callable[[State, Batch], Receipts]

EXECUTORS = st.sampled_from([reference.execute, sequential.execute])


def run(
    execute: Execute,
    state: State,
    *rows: Transaction,
    programs: tuple[Program, ...] = (),
    lists: tuple[AccessList, ...] = (),
) -> list[Status]:
    """The statuses of some transactions, by row."""
    return [Status(status) for status in execute(state, Batch.of(rows, programs, AccessLists.of(lists))).status]


def call(text: str, **columns: object) -> tuple[Transaction, tuple[Program, ...]]:
    """A call by account 0 on behalf of account 1, and the table with its program."""
    return Transaction(Kind.CALL, 0, 1)._replace(**columns), (assemble(text),)


# Transfers, mints and burns


def test_transfer_moves_the_amount(execute: Execute) -> None:
    state = State([10, 5])
    assert run(execute, state, Transaction(Kind.TRANSFER, 0, 1, 10)) == [Status.SUCCESS]
    assert state == State([0, 15])


def test_transfer_needs_the_amount(execute: Execute) -> None:
    state = State([10, 5])
    assert run(execute, state, Transaction(Kind.TRANSFER, 0, 1, 11)) == [Status.INSUFFICIENT_BALANCE]
    assert state == State([10, 5])


def test_transfer_may_not_overflow_the_receiver(execute: Execute) -> None:
    state = State([10, UINT64_MAX - 9])
    assert run(execute, state, Transaction(Kind.TRANSFER, 0, 1, 10)) == [Status.OVERFLOW]
    assert run(execute, state, Transaction(Kind.TRANSFER, 0, 1, 9)) == [Status.SUCCESS]
    assert state == State([1, UINT64_MAX])


@pytest.mark.parametrize(("held", "amount"), [(10, 10), (UINT64_MAX, UINT64_MAX), (10, 0)])
def test_transfer_to_oneself_changes_nothing(execute: Execute, held: int, amount: int) -> None:
    state = State([held])
    assert run(execute, state, Transaction(Kind.TRANSFER, 0, 0, amount)) == [Status.SUCCESS]
    assert state == State([held])


def test_transfer_to_oneself_needs_the_amount(execute: Execute) -> None:
    assert run(execute, State([10]), Transaction(Kind.TRANSFER, 0, 0, 11)) == [Status.INSUFFICIENT_BALANCE]


def test_mint_adds_to_the_receiver(execute: Execute) -> None:
    state = State([0, 1])
    mint = Transaction(Kind.MINT, 0, 1, UINT64_MAX - 1)
    assert run(execute, state, mint, mint) == [Status.SUCCESS, Status.OVERFLOW]
    assert state == State([0, UINT64_MAX])


def test_burn_takes_from_the_sender(execute: Execute) -> None:
    state = State([7, 1])
    burn = Transaction(Kind.BURN, 0, 1, 5)
    assert run(execute, state, burn, burn) == [Status.SUCCESS, Status.INSUFFICIENT_BALANCE]
    assert state == State([2, 1])


# The doors


@pytest.mark.parametrize("kind", [4, 255])
def test_unknown_kind_is_refused(execute: Execute, kind: int) -> None:
    state = State([7])
    assert run(execute, state, Transaction(kind, 0, 0, nonce=0)) == [Status.UNKNOWN_KIND]
    assert state == State([7])


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize(("sender", "receiver"), [(2, 0), (0, 2), (2**32 - 1, 2**32 - 1)])
def test_unknown_accounts_are_refused_whatever_the_kind(
    execute: Execute, kind: Kind, sender: int, receiver: int
) -> None:
    state = State([7, 7])
    assert run(execute, state, Transaction(kind, sender, receiver, nonce=0)) == [Status.UNKNOWN_ACCOUNT]
    assert state == State([7, 7])


def test_empty_ledger_knows_no_account(execute: Execute) -> None:
    assert run(execute, State([]), Transaction(Kind.MINT, 0, 0, 1)) == [Status.UNKNOWN_ACCOUNT]


def test_ordered_transactions_carry_the_senders_next_nonce(execute: Execute) -> None:
    state = State([10, 0])
    rows = [Transaction(Kind.TRANSFER, 0, 1, 1, nonce) for nonce in (0, 0, 1, 3, 2)]
    mismatch = Status.NONCE_MISMATCH
    assert run(execute, state, *rows) == [Status.SUCCESS, mismatch, Status.SUCCESS, mismatch, Status.SUCCESS]
    assert state == State([7, 3], [3, 0])


def test_failed_transaction_consumes_its_nonce(execute: Execute) -> None:
    state = State([10, 0])
    assert run(execute, state, Transaction(Kind.TRANSFER, 0, 1, 11, nonce=0)) == [Status.INSUFFICIENT_BALANCE]
    assert state == State([10, 0], [1, 0])


def test_unordered_transaction_neither_reads_nor_consumes_a_nonce(execute: Execute) -> None:
    state = State([10, 0], [5, 0])
    unordered = Transaction(Kind.TRANSFER, 0, 1, 1, ANY_NONCE)
    assert run(execute, state, unordered, unordered) == [Status.SUCCESS, Status.SUCCESS]
    assert state == State([8, 2], [5, 0])


def test_account_that_consumed_the_last_nonce_is_exhausted(execute: Execute) -> None:
    state = State([10], [LAST_NONCE])
    rows = [Transaction(Kind.BURN, 0, 0, 1, nonce) for nonce in (LAST_NONCE, LAST_NONCE, 0, ANY_NONCE)]
    exhausted = Status.NONCE_EXHAUSTED
    assert run(execute, state, *rows) == [Status.SUCCESS, exhausted, exhausted, Status.SUCCESS]
    assert state == State([8], [ANY_NONCE])


# Calls


def test_call_sends_the_amount_and_runs_the_program(execute: Execute) -> None:
    state = State([10, 0], storage=[0, 0])
    row, programs = call(
        """
            argument  r0, 3
            amount    r1
            receiver  r2
            balance   r3, r2
            add       r1, r1, r3
            store     r0, r1
        """,
        amount=4,
        arguments=(9, 9, 9, 1),
    )
    receipts = execute(state, Batch.of([row], programs))
    assert receipts.counts()["success"] == 1
    assert receipts.gas_used.tolist() == [1 + 1 + 1 + 10 + 1 + 20]
    assert state == State([6, 4], storage=[0, 8])


@pytest.mark.parametrize(
    "program",
    [
        Program([]),
        Program([Instruction(Op.STOP)] * 1025),
        Program([Instruction(200)]),
        Program([Instruction(Op.ADD, 16)]),
        Program([Instruction(Op.MOVE, 0, 0, 1)]),
        Program([Instruction(Op.STOP, immediate=1)]),
        Program([Instruction(Op.ARGUMENT, immediate=4)]),
        Program([Instruction(Op.JUMP, immediate=2)]),
    ],
    ids=["empty", "too long", "operation", "register", "unused register", "unused immediate", "argument", "target"],
)
def test_invalid_program_cannot_be_called(execute: Execute, program: Program) -> None:
    state = State([10, 0])
    row = Transaction(Kind.CALL, 0, 1, 4, nonce=0)
    assert run(execute, state, row, programs=(program,)) == [Status.INVALID_PROGRAM]
    assert state == State([10, 0], [1, 0])


def test_longest_program_and_jump_to_the_end_are_valid(execute: Execute) -> None:
    body = [Instruction(Op.JUMP, immediate=1024)] + [Instruction(Op.REVERT)] * 1023
    assert run(execute, State([0, 0]), Transaction(Kind.CALL, 0, 1), programs=(Program(body),)) == [Status.SUCCESS]


@pytest.mark.parametrize("place", [1, 2**32 - 1])
def test_program_that_the_batch_lacks_cannot_be_called(execute: Execute, place: int) -> None:
    row, programs = call("stop", program=place)
    assert run(execute, State([0, 0]), row, programs=programs) == [Status.INVALID_PROGRAM]


def test_gas_limit_is_itself_limited(execute: Execute) -> None:
    row, programs = call("stop", gas_limit=MAXIMUM_GAS)
    above = row._replace(gas_limit=MAXIMUM_GAS + 1)
    assert run(execute, State([0, 0]), row, above, programs=programs) == [
        Status.SUCCESS,
        Status.GAS_LIMIT_TOO_HIGH,
    ]


def test_call_ends_when_the_next_instruction_cannot_be_paid(execute: Execute) -> None:
    state = State([10, 0], storage=[0])
    row, programs = call("store r0, r0\n store r0, r0\n stop", gas_limit=40, amount=3)
    receipts = execute(state, Batch.of([row, row._replace(gas_limit=41)], programs))
    assert receipts.status.tolist() == [Status.OUT_OF_GAS, Status.SUCCESS]
    assert receipts.gas_used.tolist() == [40, 41]
    assert state == State([7, 3], storage=[0])


def test_endless_loop_runs_out_of_gas(execute: Execute) -> None:
    row, programs = call("again: jump again", gas_limit=1000)
    receipts = execute(State([0, 0]), Batch.of([row], programs))
    assert (receipts.status[0], receipts.gas_used[0]) == (Status.OUT_OF_GAS, 1000)


FAILING_ENDS = {
    "revert": Status.REVERTED,
    "set r9, 2 \n store r9, r9": Status.UNKNOWN_SLOT,
    "set r9, 2 \n load r8, r9": Status.UNKNOWN_SLOT,
    "set r9, 2 \n balance r8, r9": Status.UNKNOWN_ACCOUNT,
    "set r9, 2 \n pay r9, r8": Status.UNKNOWN_ACCOUNT,
    "set r9, 9 \n pay r8, r9": Status.INSUFFICIENT_BALANCE,
    "div r9, r9, r8": Status.DIVISION_BY_ZERO,
    "sub r9, r8, r1": Status.OVERFLOW,
}


@pytest.mark.parametrize(("end", "status"), FAILING_ENDS.items(), ids=[s.replace("\n", ";") for s in FAILING_ENDS])
def test_failed_call_undoes_all_that_it_did(execute: Execute, end: str, status: Status) -> None:
    state = State([10, 1], storage=[7, 7])
    row, programs = call(
        f"""
            set    r1, 1
            store  r1, r1       ; the same slot twice: the oldest word must come back
            set    r2, 2
            store  r1, r2
            set    r3, 0
            pay    r3, r2       ; two of the four units just received
            {end}
        """,
        amount=4,
        nonce=0,
    )
    assert run(execute, state, row, programs=programs) == [status]
    assert state == State([10, 1], [1, 0], [7, 7])


def test_pay_comes_out_of_the_receivers_account(execute: Execute) -> None:
    state = State([10, 0, 5])
    row, programs = call("set r0, 2 \n set r1, 3 \n pay r0, r1", amount=4)
    assert run(execute, state, row, programs=programs) == [Status.SUCCESS]
    assert state == State([6, 1, 8])


def test_pay_may_not_overflow(execute: Execute) -> None:
    row, programs = call("set r0, 2 \n set r1, 3 \n pay r0, r1", amount=4)
    assert run(execute, State([10, 0, UINT64_MAX - 2]), row, programs=programs) == [Status.OVERFLOW]


def test_pay_to_the_receiver_itself_changes_nothing(execute: Execute) -> None:
    state = State([10, UINT64_MAX - 10])
    row, programs = call("receiver r0 \n balance r1, r0 \n pay r0, r1", amount=4)
    assert run(execute, state, row, programs=programs) == [Status.SUCCESS]
    assert state == State([6, UINT64_MAX - 6])


def test_call_sees_its_own_writes_and_starts_with_zero_registers(execute: Execute) -> None:
    state = State([0, 0], storage=[0, 0])
    row, programs = call("""
        set   r1, 41
        store r0, r1
        load  r2, r0
        set   r3, 1
        add   r2, r2, r3
        store r3, r2
        add   r15, r15, r3
        store r0, r15
    """)
    assert run(execute, state, row, row, programs=programs) == [Status.SUCCESS] * 2
    assert state == State([0, 0], storage=[1, 42])


# Access lists

TOUCHES = {
    "balance r1, r0": AccessList(accounts=(3, 2)),
    "pay r0, r1": AccessList(accounts=(3, 2)),
    "load r1, r0": AccessList(slots=(3, 2)),
    "store r0, r1": AccessList(slots=(3, 2)),
}


@pytest.mark.parametrize(("touch", "declared"), TOUCHES.items(), ids=TOUCHES)
def test_call_touches_what_it_declared_and_nothing_else(execute: Execute, touch: str, declared: AccessList) -> None:
    row, programs = call(f"argument r0, 0 \n set r1, 1 \n {touch}", amount=4, access=1, nonce=0)
    # What the list says in the other column helps nothing: accounts are not slots.
    crossed = AccessList(declared.slots, declared.accounts)
    rows = [row._replace(arguments=(place, 0, 0, 0), nonce=nonce) for nonce, place in enumerate((2, 3, 4, 9))]
    state = State([50] * 5, storage=[0] * 5)
    unknown = Status.UNKNOWN_ACCOUNT if declared.accounts else Status.UNKNOWN_SLOT
    assert run(execute, state, *rows, programs=programs, lists=(crossed, declared)) == [
        Status.SUCCESS,
        Status.SUCCESS,
        Status.UNDECLARED_ACCESS,
        unknown,
    ]
    assert state.nonces[0] == 4
    assert state.balances[0] == 50 - 2 * 4


def test_sender_and_receiver_need_no_declaration(execute: Execute) -> None:
    row, programs = call(
        "sender r0 \n balance r1, r0 \n receiver r2 \n balance r3, r2 \n pay r0, r3", access=0, amount=4
    )
    state = State([10, 5])
    assert run(execute, state, row, programs=programs, lists=(AccessList(),)) == [Status.SUCCESS]
    assert state == State([15, 0])


def test_access_list_that_the_batch_lacks_cannot_be_declared(execute: Execute) -> None:
    row, programs = call("stop", access=1, nonce=0, amount=4)
    state = State([10, 0])
    lists = (AccessList(),)
    assert run(execute, state, row, programs=programs, lists=lists) == [Status.UNKNOWN_ACCESS_LIST]
    above = row._replace(nonce=1, gas_limit=MAXIMUM_GAS + 1)
    assert run(execute, state, above, programs=programs, lists=lists) == [Status.GAS_LIMIT_TOO_HIGH]
    assert state == State([10, 0], [2, 0])


def test_other_kinds_declare_nothing(execute: Execute) -> None:
    assert run(execute, State([10, 0]), Transaction(Kind.TRANSFER, 0, 1, 4, access=7)) == [Status.SUCCESS]


def test_undeclared_access_comes_before_what_the_payment_would_do(execute: Execute) -> None:
    row, programs = call("set r0, 2 \n set r1, 1 \n pay r0, r1", access=0)
    full = State([0, 1, UINT64_MAX])
    poor = State([0, 0, 0])
    assert run(execute, full, row, programs=programs, lists=(AccessList(),)) == [Status.UNDECLARED_ACCESS]
    assert run(execute, poor, row, programs=programs, lists=(AccessList(),)) == [Status.UNDECLARED_ACCESS]


M = UINT64_MAX
COMPUTATIONS = [
    ("add", 2, 3, 5), ("add", M, 0, M), ("add", M, 1, Status.OVERFLOW),
    ("sub", 3, 3, 0), ("sub", 2, 3, Status.OVERFLOW),
    ("mul", 0, M, 0), ("mul", M, 0, 0), ("mul", M, 1, M), ("mul", 2**32, 2**32, Status.OVERFLOW),
    ("mul", 2**32 + 1, 2**32 - 1, M), ("mul", 3, M // 3, M), ("mul", 3, M // 3 + 1, Status.OVERFLOW),
    ("wrapping_add", M, 2, 1), ("wrapping_sub", 2, 3, M), ("wrapping_mul", M, M, 1),
    ("div", 7, 2, 3), ("div", M, 1, M), ("div", 0, 0, Status.DIVISION_BY_ZERO),
    ("mod", 7, 2, 1), ("mod", M, 2**63, 2**63 - 1), ("mod", 1, 0, Status.DIVISION_BY_ZERO),
    ("and", 12, 10, 8), ("or", 12, 10, 14), ("xor", 12, 10, 6),
    ("shift_left", 3, 63, 2**63), ("shift_left", 1, 64, 0), ("shift_left", 1, M, 0), ("shift_left", M, 0, M),
    ("shift_right", M, 63, 1), ("shift_right", M, 64, 0), ("shift_right", M, 2**32, 0),
    ("equal", M, M, 1), ("equal", 0, M, 0),
    ("less", 1, M, 1), ("less", M, 1, 0), ("less", 1, 1, 0),
    ("less_or_equal", 1, 1, 1), ("less_or_equal", 2**63, 2**63 - 1, 0),
]  # fmt: skip


@pytest.mark.parametrize(("name", "a", "b", "result"), COMPUTATIONS)
def test_computation(execute: Execute, name: str, a: int, b: int, result: int | Status) -> None:
    state = State([0, 0], storage=[99])
    row, programs = call(
        f"argument r1, 0 \n argument r2, 1 \n {name} r3, r1, r2 \n store r0, r3", arguments=(a, b, 0, 0)
    )
    (status,) = run(execute, state, row, programs=programs)
    if isinstance(result, Status):
        assert (status, int(state.storage[0])) == (result, 99)
    else:
        assert (status, int(state.storage[0])) == (Status.SUCCESS, result)


def test_every_operation_costs_gas() -> None:
    """A free one could be repeated forever."""
    assert all(operation.gas >= 1 for operation in OPERATIONS.values())


# Properties


@SEARCH
@given(ledgers(), EXECUTORS)
def test_failed_transaction_changes_at_most_its_senders_nonce(ledger: tuple[State, Batch], execute: Execute) -> None:
    state, batch = ledger
    for place in range(len(batch)):
        before = state.copy()
        receipts = execute(state, batch[place : place + 1])
        if receipts.failed:
            changed = np.flatnonzero(before.nonces != state.nonces)
            assert changed.size == 0 or (
                batch.nonce[place] != ANY_NONCE
                and changed.tolist() == [batch.sender[place]]
                and state.nonces[changed[0]] == before.nonces[changed[0]] + np.uint64(1)
            )
            before.nonces[:] = state.nonces
            assert state == before


@SEARCH
@given(ledgers(), EXECUTORS)
def test_only_mints_and_burns_change_the_supply(ledger: tuple[State, Batch], execute: Execute) -> None:
    state, batch = ledger
    expected = sum(state.balances.tolist())
    receipts = execute(state, batch)
    for row, status in zip(batch.transactions(), receipts.status, strict=True):
        if status == Status.SUCCESS:
            expected += {Kind.MINT: row.amount, Kind.BURN: -row.amount}.get(Kind(row.kind), 0)
    assert sum(state.balances.tolist()) == expected


@SEARCH
@given(ledgers(), EXECUTORS, st.integers(0, 10))
def test_a_batch_equals_its_two_halves(ledger: tuple[State, Batch], execute: Execute, cut: int) -> None:
    state, batch = ledger
    halved = state.copy()
    whole = execute(state, batch)
    parts = [execute(halved, batch[:cut]), execute(halved, batch[cut:])]
    assert halved == state
    assert whole == Receipts(
        np.concatenate([part.status for part in parts]), np.concatenate([part.gas_used for part in parts])
    )


@SEARCH
@given(ledgers(), EXECUTORS)
def test_gas_is_used_by_calls_only_and_within_the_limit(ledger: tuple[State, Batch], execute: Execute) -> None:
    state, batch = ledger
    receipts = execute(state, batch)
    assert (receipts.gas_used <= batch.gas_limit).all()
    assert (receipts.gas_used[batch.kind != Kind.CALL] == 0).all()
