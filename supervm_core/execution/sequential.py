"""The compiled sequential executor: the specification as one flat loop over columns.

Why it is exact. Each transaction goes through the same doors as in `supervm_core.reference`, in the same order, and is
finished before the next begins. Three things differ in form, none in result.

- *Numbers.* Every quantity is a 64-bit unsigned integer, whose sum wraps: `a + b` has overflowed exactly when it is
  smaller than `a`, `a - b` is negative exactly when `a < b`, and `a * b` overflows exactly when `a` is not zero and
  `b > (2**64 - 1) // a`. The tests come before or instead of the write. Signed integers never meet unsigned ones, which
  numba would silently turn into floats.
- *Undoing.* The specification writes to a draft and commits; the kernel writes to the state and remembers what stood
  there before, last write first on the way back. Other kinds than calls test everything before their only writes. Every
  write inside a call costs gas, which bounds the log: it never grows.
- *Bounds.* Valid programs only name registers, arguments and instructions that exist, accounts and slots are compared
  before use, so no index can leave its array although none is checked a second time.

The interpreter stands inside the loop because a helper that takes arrays costs more than the work of a transfer. What
a transfer costs is waiting for memory, so the loop asks for the accounts of a transaction that comes later; that is a
hint to the processor and touches nothing.

The loop comes in two forms: `kernel` takes the batch as it stands; the ordered path builds itself another that takes
the places that it is given, in that order. Both write down when each micro-batch began and ended, if they are given
room for that.
"""
# ruff: noqa: N806, RET508  (constants keep their names inside the closure; one chain of branches makes a jump table)

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from supervm_core.columns import U8, U32, U64, UINT64_MAX
from supervm_core.execution.bookkeeping import MICRO_BATCH, NOWHERE, Notes
from supervm_core.execution.compiling import (
    BATCH,
    CODE,
    LEDGER,
    RECEIPTS,
    clock_gettime,
    compiled,
    prefetch,
    reads,
    writes,
)
from supervm_core.programs import GAS_WRITE, MAXIMUM_GAS, REGISTERS, Op
from supervm_core.state import State
from supervm_core.transactions import ANY_NONCE, NO_ACCESS_LIST, Batch, Kind, Receipts, Status

LOOK_AHEAD = 8
"""How many transactions ahead accounts are asked for: about as many as fit into the time that memory takes."""


def build(*, in_order: bool) -> Any:
    """Compile the kernel; the constants of other modules enter through this closure (see `compiling`).

    Parameters
    ----------
    in_order : bool
        Whether the kernel executes the transactions that `order` lists, or the whole batch.
    """
    TRANSFER, MINT, BURN, CALL = map(np.uint8, Kind)
    (
        SUCCESS, UNKNOWN_KIND, UNKNOWN_ACCOUNT, NONCE_MISMATCH, NONCE_EXHAUSTED, INSUFFICIENT_BALANCE, OVERFLOW,
        INVALID_PROGRAM, GAS_LIMIT_TOO_HIGH, OUT_OF_GAS, UNKNOWN_SLOT, DIVISION_BY_ZERO, REVERTED,
        UNKNOWN_ACCESS_LIST, UNDECLARED_ACCESS,
    ) = map(np.uint8, Status)  # fmt: skip
    (
        STOP, REVERT, SET, MOVE, ADD, SUB, MUL, WRAPPING_ADD, WRAPPING_SUB, WRAPPING_MUL, DIV, MOD, AND, OR, XOR,
        SHIFT_LEFT, SHIFT_RIGHT, EQUAL, LESS, LESS_OR_EQUAL, JUMP, JUMP_IF, JUMP_UNLESS, ARGUMENT, SENDER, RECEIVER,
        AMOUNT, BALANCE, LOAD, STORE, PAY,
    ) = map(np.uint8, Op)  # fmt: skip
    uint64 = np.uint64
    ZERO, ONE, TWO, WORD_BITS, LARGEST = uint64(0), uint64(1), uint64(2), uint64(64), uint64(UINT64_MAX)
    ANY, GAS_CEILING, NO_LIST = uint64(ANY_NONCE), uint64(MAXIMUM_GAS), uint64(NO_ACCESS_LIST)
    AHEAD = uint64(LOOK_AHEAD)
    IN_ORDER = in_order
    REGISTER_COUNT = REGISTERS
    # A payment remembers two balances, and so does the amount that comes with the call.
    LOG_PLACES = 2 * (MAXIMUM_GAS // GAS_WRITE) + 2
    STAMP_EVERY, BILLION = uint64(MICRO_BATCH), uint64(10**9)
    CLOCK = np.int32(time.CLOCK_MONOTONIC)

    def kernel(
        balances: U64,
        nonces: U64,
        storage: U64,
        order: U32,
        kind: U8,
        sender: U32,
        receiver: U32,
        amount: U64,
        nonce: U64,
        program: U32,
        gas_limit: U64,
        arguments: U64,
        access: U32,
        bounds: U64,
        places: U64,
        valid: U8,
        first: U64,
        last: U64,
        op: U8,
        dst: U8,
        a: U8,
        b: U8,
        immediate: U64,
        gas: U64,
        status: U8,
        gas_used: U64,
        stamps: U64,
    ) -> None:
        accounts = uint64(balances.size)
        slots = uint64(storage.size)
        programs = uint64(valid.size)
        lists = uint64(bounds.size) // TWO
        registers = np.empty(REGISTER_COUNT, np.uint64)
        # What a call overwrote, oldest first: a place (an account, or accounts + a slot) and its former number.
        log_size = LOG_PLACES if programs != ZERO else 0
        log_places = np.empty(log_size, np.uint64)
        log_numbers = np.empty(log_size, np.uint64)

        total_count = uint64(order.size) if IN_ORDER else uint64(kind.size)
        stamped = stamps.shape[0] != 0
        moment = np.empty(2, np.uint64)
        row = ZERO
        for turn in range(total_count):
            if stamped and turn % STAMP_EVERY == ZERO:
                clock_gettime(CLOCK, moment.ctypes.data)
                row = turn // STAMP_EVERY
                stamps[row, 0] = moment[0] * BILLION + moment[1]
                stamps[row, 2] = min(STAMP_EVERY, total_count - turn)
                if row != ZERO:
                    stamps[row - ONE, 1] = stamps[row, 0]
            later = min(turn + AHEAD, total_count - ONE)
            if IN_ORDER:
                later = uint64(order[later])
            prefetch(balances, uint64(sender[later]))
            prefetch(balances, uint64(receiver[later]))
            if nonce[later] != ANY:
                prefetch(nonces, uint64(sender[later]))

            t = uint64(order[turn]) if IN_ORDER else turn
            gas_used[t] = ZERO
            what = kind[t]
            source = uint64(sender[t])
            target = uint64(receiver[t])
            value = amount[t]

            if what > CALL:
                status[t] = UNKNOWN_KIND
                continue
            if source >= accounts or target >= accounts:
                status[t] = UNKNOWN_ACCOUNT
                continue
            if nonce[t] != ANY:
                expected = nonces[source]
                if nonce[t] != expected:
                    status[t] = NONCE_EXHAUSTED if expected == ANY else NONCE_MISMATCH
                    continue
                nonces[source] = expected + ONE

            if what == MINT:
                total = balances[target] + value
                if total < value:
                    status[t] = OVERFLOW
                    continue
                balances[target] = total
                status[t] = SUCCESS
                continue
            if what == BURN:
                held = balances[source]
                if held < value:
                    status[t] = INSUFFICIENT_BALANCE
                    continue
                balances[source] = held - value
                status[t] = SUCCESS
                continue

            # Transfers and calls. A call is checked before its amount moves.
            place = ZERO
            limit = ZERO
            declared = False
            list_at = ZERO
            if what == CALL:
                place = uint64(program[t])
                limit = gas_limit[t]
                if place >= programs or valid[place] == 0:
                    status[t] = INVALID_PROGRAM
                    continue
                if limit > GAS_CEILING:
                    status[t] = GAS_LIMIT_TOO_HIGH
                    continue
                list_at = uint64(access[t])
                declared = list_at != NO_LIST
                if declared and list_at >= lists:
                    status[t] = UNKNOWN_ACCESS_LIST
                    continue
            held = balances[source]
            if held < value:
                status[t] = INSUFFICIENT_BALANCE
                continue
            before = balances[target]
            if source != target:
                total = before + value
                if total < value:
                    status[t] = OVERFLOW
                    continue
                balances[source] = held - value
                balances[target] = total
            if what == TRANSFER:
                status[t] = SUCCESS
                continue

            log_places[0] = source
            log_numbers[0] = held
            log_places[1] = target
            log_numbers[1] = before
            logged = TWO
            registers[:] = ZERO
            used = ZERO
            start = first[place]
            end = last[place]
            at = start
            outcome = SUCCESS
            while at < end:
                price = gas[at]
                if limit - used < price:
                    outcome = OUT_OF_GAS
                    break
                used += price
                what = op[at]
                into = dst[at]
                # Fields that an operation does not use are zero in a valid program: reading register 0 does no harm.
                x = registers[a[at]]
                y = registers[b[at]]
                word = immediate[at]
                at += ONE
                if declared and (
                    (what in (BALANCE, PAY) and x < accounts and x != source and x != target)
                    or (what in (LOAD, STORE) and x < slots)
                ):
                    # Sought by halves: the first of the list's places that is not below x.
                    group = TWO * list_at + (ONE if what in (LOAD, STORE) else ZERO)
                    low = bounds[group]
                    beyond = bounds[group + ONE]
                    high = beyond
                    while low < high:
                        middle = low + (high - low) // TWO
                        if places[middle] < x:
                            low = middle + ONE
                        else:
                            high = middle
                    if low == beyond or places[low] != x:
                        outcome = UNDECLARED_ACCESS
                        break
                if what == STOP:
                    break
                elif what == REVERT:
                    outcome = REVERTED
                    break
                elif what == SET:
                    registers[into] = word
                elif what == MOVE:
                    registers[into] = x
                elif what == ADD:
                    result = x + y
                    if result < x:
                        outcome = OVERFLOW
                        break
                    registers[into] = result
                elif what == SUB:
                    if x < y:
                        outcome = OVERFLOW
                        break
                    registers[into] = x - y
                elif what == MUL:
                    if x != ZERO and y > LARGEST // x:
                        outcome = OVERFLOW
                        break
                    registers[into] = x * y
                elif what == WRAPPING_ADD:
                    registers[into] = x + y
                elif what == WRAPPING_SUB:
                    registers[into] = x - y
                elif what == WRAPPING_MUL:
                    registers[into] = x * y
                elif what == DIV:
                    if y == ZERO:
                        outcome = DIVISION_BY_ZERO
                        break
                    registers[into] = x // y
                elif what == MOD:
                    if y == ZERO:
                        outcome = DIVISION_BY_ZERO
                        break
                    registers[into] = x % y
                elif what == AND:
                    registers[into] = x & y
                elif what == OR:
                    registers[into] = x | y
                elif what == XOR:
                    registers[into] = x ^ y
                elif what == SHIFT_LEFT:
                    # The processor looks at the lowest six bits of the distance only.
                    registers[into] = x << y if y < WORD_BITS else ZERO
                elif what == SHIFT_RIGHT:
                    registers[into] = x >> y if y < WORD_BITS else ZERO
                elif what == EQUAL:
                    registers[into] = ONE if x == y else ZERO
                elif what == LESS:
                    registers[into] = ONE if x < y else ZERO
                elif what == LESS_OR_EQUAL:
                    registers[into] = ONE if x <= y else ZERO
                elif what == JUMP:
                    at = start + word
                elif what == JUMP_IF:
                    if x != ZERO:
                        at = start + word
                elif what == JUMP_UNLESS:
                    if x == ZERO:
                        at = start + word
                elif what == ARGUMENT:
                    registers[into] = arguments[t, word]
                elif what == SENDER:
                    registers[into] = source
                elif what == RECEIVER:
                    registers[into] = target
                elif what == AMOUNT:
                    registers[into] = value
                elif what == BALANCE:
                    if x >= accounts:
                        outcome = UNKNOWN_ACCOUNT
                        break
                    registers[into] = balances[x]
                elif what == LOAD:
                    if x >= slots:
                        outcome = UNKNOWN_SLOT
                        break
                    registers[into] = storage[x]
                elif what == STORE:
                    if x >= slots:
                        outcome = UNKNOWN_SLOT
                        break
                    log_places[logged] = accounts + x
                    log_numbers[logged] = storage[x]
                    logged += ONE
                    storage[x] = y
                elif what == PAY:
                    if x >= accounts:
                        outcome = UNKNOWN_ACCOUNT
                        break
                    held = balances[target]
                    if held < y:
                        outcome = INSUFFICIENT_BALANCE
                        break
                    if x != target:
                        before = balances[x]
                        total = before + y
                        if total < y:
                            outcome = OVERFLOW
                            break
                        log_places[logged] = target
                        log_numbers[logged] = held
                        log_places[logged + ONE] = x
                        log_numbers[logged + ONE] = before
                        logged += TWO
                        balances[target] = held - y
                        balances[x] = total

            if outcome != SUCCESS:
                while logged > ZERO:
                    logged -= ONE
                    written = log_places[logged]
                    if written < accounts:
                        balances[written] = log_numbers[logged]
                    else:
                        storage[written - accounts] = log_numbers[logged]
            status[t] = outcome
            gas_used[t] = used
        if stamped:
            clock_gettime(CLOCK, moment.ctypes.data)
            stamps[row, 1] = moment[0] * BILLION + moment[1]

    return compiled([*LEDGER, reads("uint32"), *BATCH, *CODE, *RECEIPTS, writes("uint64", 2)])(kernel)


kernel = build(in_order=False)

NO_ORDER = np.zeros(0, np.uint32)
NO_ORDER.flags.writeable = False


def columns(batch: Batch) -> tuple[NDArray[Any], ...]:
    """The batch's columns in the order in which kernels take them."""
    code, lists = batch.code, batch.lists
    return (
        batch.kind, batch.sender, batch.receiver, batch.amount, batch.nonce, batch.program, batch.gas_limit,
        batch.arguments, batch.access, lists.bounds, lists.places,
        code.valid, code.first, code.last, code.op, code.dst, code.a, code.b, code.immediate, code.gas,
    )  # fmt: skip


def execute(state: State, batch: Batch, notes: Notes | None = None) -> Receipts:
    """Apply a batch to a state, as `supervm_core.reference.execute` does.

    Parameters
    ----------
    state : State
        Changed in place.
    batch : Batch
        Any; no contents make this raise.
    notes : Notes, optional
        Where to note when each micro-batch was executed.

    Returns
    -------
    Receipts
        Fresh columns, one place per transaction.
    """
    receipts = Receipts(status=np.empty(len(batch), np.uint8), gas_used=np.empty(len(batch), np.uint64))
    stamps = NOWHERE if notes is None else notes.room(len(batch))
    kernel(
        state.balances, state.nonces, state.storage, NO_ORDER, *columns(batch), receipts.status, receipts.gas_used,
        stamps,
    )  # fmt: skip
    return receipts
