"""Calls in lockstep: up to 128 calls of one program run together, one instruction at a time for all of them.

An interpreter spends most of its time finding out what to do next. Here that is paid once per block: registers lie in
rows, one row of 128 lanes each, and an instruction is a short loop over lanes that the compiler turns into vector
instructions.

Why it is exact. The kernel is only given transactions that touch nothing in common (see `conflicts`), so their order
does not matter, and neither does it who else works on others of them at the same time. A block keeps the calls that
succeed and go the same way through their program to its end: for those, every instruction does what
`supervm_core.reference` says, at the same price. Every other lane is *left*: one whose call fails in any way, runs out
of gas, takes the less travelled side of a branch, or touches what it has not declared; also transactions that are not
calls, and calls that stand with too few others of their program. What such a lane has written is put back, last write
first, its nonce included, and the transaction is listed for the scalar kernel, which executes it from the beginning and
finds out its status. A lane that was left goes on computing in its registers, which nobody reads, and touches nothing
any more.

Sums and differences are tested as in `sequential`. A product is put together from halves of 32 bits, without a
division: it overflows if both upper halves are not zero, or if the one product across does not fit into the upper half,
or if adding the product of the lower halves wraps.
"""
# ruff: noqa: N806, RET508  (constants keep their names inside the closure; one chain of branches makes a jump table)

from __future__ import annotations

from typing import Any

import numpy as np

from supervm_core.columns import U8, U32, U64
from supervm_core.execution.compiling import BATCH, CODE, LEDGER, RECEIPTS, compiled, prefetch, reads, writes
from supervm_core.programs import MAXIMUM_GAS, REGISTERS, Op
from supervm_core.transactions import ANY_NONCE, NO_ACCESS_LIST, Kind, Status

LANES = 128
"""Enough to spread the cost of finding an instruction, few enough that all registers stay in the nearest cache."""

FEWEST_LANES = 16
"""Fewer calls than this are quicker one by one: an instruction costs the whole block's loop."""

LOG_ROWS = 256
"""Writes that a block remembers in order to take lanes back; a program that makes more is left to the scalar kernel."""


def _build() -> Any:
    uint64, uint32 = np.uint64, np.uint32
    CALL = np.uint8(Kind.CALL)
    SUCCESS = np.uint8(Status.SUCCESS)
    (
        STOP, REVERT, SET, MOVE, ADD, SUB, MUL, WRAPPING_ADD, WRAPPING_SUB, WRAPPING_MUL, DIV, MOD, AND, OR, XOR,
        SHIFT_LEFT, SHIFT_RIGHT, EQUAL, LESS, LESS_OR_EQUAL, JUMP, JUMP_IF, JUMP_UNLESS, ARGUMENT, SENDER, RECEIVER,
        AMOUNT, BALANCE, LOAD, STORE, PAY,
    ) = map(np.uint8, Op)  # fmt: skip
    ZERO, ONE, TWO, WORD_BITS, HALF, LOWER = map(uint64, (0, 1, 2, 64, 32, 2**32 - 1))
    ANY, GAS_CEILING, NO_LIST = uint64(ANY_NONCE), uint64(MAXIMUM_GAS), uint64(NO_ACCESS_LIST)
    WIDTH, FEWEST, ROWS, REGISTER_COUNT = uint64(LANES), uint64(FEWEST_LANES), uint64(LOG_ROWS), uint64(REGISTERS)
    NOWHERE = uint64(2**64 - 1)

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
        left: U32,
        left_count: U64,
    ) -> None:
        accounts = uint64(balances.size)
        slots = uint64(storage.size)
        programs = uint64(valid.size)
        lists = uint64(bounds.size) // TWO
        total = uint64(order.size)
        registers = np.empty(REGISTER_COUNT * WIDTH, np.uint64)
        result = np.empty(WIDTH, np.uint64)
        bad = np.empty(WIDTH, np.uint64)
        alive = np.empty(WIDTH, np.uint64)
        lane_tx = np.empty(WIDTH, np.uint64)
        lane_source = np.empty(WIDTH, np.uint64)
        lane_target = np.empty(WIDTH, np.uint64)
        lane_value = np.empty(WIDTH, np.uint64)
        lane_limit = np.empty(WIDTH, np.uint64)
        lane_list = np.empty(WIDTH, np.uint64)
        log_places = np.empty(ROWS * WIDTH, np.uint64)
        log_numbers = np.empty(ROWS * WIDTH, np.uint64)
        leaving = ZERO

        turn = ZERO
        while turn < total:
            # The calls of one program that stand together, as many as there are lanes.
            t = uint64(order[turn])
            place = uint64(program[t])
            if kind[t] != CALL or place >= programs or valid[place] == 0:
                left[leaving] = uint32(t)
                leaving += ONE
                turn += ONE
                continue
            beyond = turn + ONE
            while beyond < total and beyond - turn < WIDTH:
                t = uint64(order[beyond])
                if kind[t] != CALL or uint64(program[t]) != place:
                    break
                prefetch(balances, uint64(sender[t]))
                prefetch(balances, uint64(receiver[t]))
                if nonce[t] != ANY:
                    prefetch(nonces, uint64(sender[t]))
                beyond += ONE
            if beyond - turn < FEWEST:
                while turn < beyond:
                    left[leaving] = order[turn]
                    leaving += ONE
                    turn += ONE
                continue

            # What comes before the first instruction, lane by lane; only what will succeed gets a lane.
            size = ZERO
            any_list = False
            lowest_limit = GAS_CEILING
            while turn < beyond:
                t = uint64(order[turn])
                turn += ONE
                source = uint64(sender[t])
                target = uint64(receiver[t])
                value = amount[t]
                limit = gas_limit[t]
                declared = uint64(access[t])
                fit = (
                    source < accounts
                    and target < accounts
                    and limit <= GAS_CEILING
                    and (declared == NO_LIST or declared < lists)
                )
                if fit and nonce[t] != ANY:
                    fit = nonce[t] == nonces[source]
                if fit:
                    held = balances[source]
                    before = balances[target]
                    fit = held >= value and (source == target or before + value >= value)
                    if fit:
                        if nonce[t] != ANY:
                            nonces[source] = nonce[t] + ONE
                        if source != target:
                            balances[source] = held - value
                            balances[target] = before + value
                        log_places[size] = source
                        log_numbers[size] = held
                        log_places[WIDTH + size] = target
                        log_numbers[WIDTH + size] = before
                        lane_tx[size] = t
                        lane_source[size] = source
                        lane_target[size] = target
                        lane_value[size] = value
                        lane_limit[size] = limit
                        lane_list[size] = declared
                        lowest_limit = min(lowest_limit, limit)
                        any_list = any_list or declared != NO_LIST
                        size += ONE
                if not fit:
                    left[leaving] = uint32(t)
                    leaving += ONE
            for lane in range(WIDTH):
                alive[lane] = ONE if lane < size else ZERO
            living = size
            registers[:] = ZERO
            logged = TWO
            used = ZERO
            start = first[place]
            end = last[place]
            at = start

            while at < end and living > ZERO:
                price = gas[at]
                what = op[at]
                xs = uint64(a[at]) * WIDTH
                ys = uint64(b[at]) * WIDTH
                into = uint64(dst[at]) * WIDTH
                word = immediate[at]
                trouble = ZERO
                stores_result = False
                grown = ZERO

                # Leave the lanes that cannot pay, and those about to touch what they have not declared.
                if lowest_limit - used < price:
                    lowest_limit = GAS_CEILING
                    for lane in range(size):
                        short = ONE if lane_limit[lane] - used < price else ZERO
                        bad[lane] = short & alive[lane]
                        if bad[lane] != ZERO:
                            trouble = ONE
                        elif alive[lane] != ZERO:
                            lowest_limit = min(lowest_limit, lane_limit[lane])
                if trouble == ZERO and any_list and what in (BALANCE, LOAD, STORE, PAY):
                    of_slots = ONE if what in (LOAD, STORE) else ZERO
                    for lane in range(size):
                        bad[lane] = ZERO
                        x = registers[xs + lane]
                        if (
                            alive[lane] != ZERO
                            and lane_list[lane] != NO_LIST
                            and (of_slots == ONE or (x != lane_source[lane] and x != lane_target[lane]))
                        ):
                            group = TWO * lane_list[lane] + of_slots
                            low = bounds[group]
                            group_end = bounds[group + ONE]
                            high = group_end
                            while low < high:
                                middle = low + (high - low) // TWO
                                if places[middle] < x:
                                    low = middle + ONE
                                else:
                                    high = middle
                            if low == group_end or places[low] != x:
                                bad[lane] = ONE
                                trouble = ONE
                if what in (STORE, PAY) and logged + TWO > ROWS:
                    for lane in range(size):
                        bad[lane] = alive[lane]
                    trouble = ONE

                if trouble == ZERO:
                    used += price
                    at += ONE
                    if what == STOP:
                        break
                    elif what == REVERT:
                        for lane in range(size):
                            bad[lane] = alive[lane]
                        trouble = ONE
                    elif what == SET:
                        for lane in range(WIDTH):
                            registers[into + lane] = word
                    elif what == MOVE:
                        stores_result = True
                        for lane in range(WIDTH):
                            result[lane] = registers[xs + lane]
                    elif what == ADD:
                        stores_result = True
                        for lane in range(WIDTH):
                            x = registers[xs + lane]
                            total_of_both = x + registers[ys + lane]
                            result[lane] = total_of_both
                            flag = (ONE if total_of_both < x else ZERO) & alive[lane]
                            bad[lane] = flag
                            trouble |= flag
                    elif what == SUB:
                        stores_result = True
                        for lane in range(WIDTH):
                            x = registers[xs + lane]
                            y = registers[ys + lane]
                            result[lane] = x - y
                            flag = (ONE if x < y else ZERO) & alive[lane]
                            bad[lane] = flag
                            trouble |= flag
                    elif what == MUL:
                        stores_result = True
                        for lane in range(WIDTH):
                            x = registers[xs + lane]
                            y = registers[ys + lane]
                            x_high = x >> HALF
                            y_high = y >> HALF
                            across = x_high * (y & LOWER) + (x & LOWER) * y_high
                            upper = across << HALF
                            product = upper + (x & LOWER) * (y & LOWER)
                            result[lane] = product
                            flag = ONE if x_high != ZERO and y_high != ZERO else ZERO
                            flag |= ONE if (across >> HALF) != ZERO else ZERO
                            flag |= ONE if product < upper else ZERO
                            flag &= alive[lane]
                            bad[lane] = flag
                            trouble |= flag
                    elif what == WRAPPING_ADD:
                        stores_result = True
                        for lane in range(WIDTH):
                            result[lane] = registers[xs + lane] + registers[ys + lane]
                    elif what == WRAPPING_SUB:
                        stores_result = True
                        for lane in range(WIDTH):
                            result[lane] = registers[xs + lane] - registers[ys + lane]
                    elif what == WRAPPING_MUL:
                        stores_result = True
                        for lane in range(WIDTH):
                            result[lane] = registers[xs + lane] * registers[ys + lane]
                    elif what in (DIV, MOD):
                        stores_result = True
                        for lane in range(size):
                            x = registers[xs + lane]
                            y = registers[ys + lane]
                            bad[lane] = ZERO
                            if y != ZERO:
                                result[lane] = x // y if what == DIV else x % y
                            elif alive[lane] != ZERO:
                                bad[lane] = ONE
                                trouble = ONE
                    elif what == AND:
                        stores_result = True
                        for lane in range(WIDTH):
                            result[lane] = registers[xs + lane] & registers[ys + lane]
                    elif what == OR:
                        stores_result = True
                        for lane in range(WIDTH):
                            result[lane] = registers[xs + lane] | registers[ys + lane]
                    elif what == XOR:
                        stores_result = True
                        for lane in range(WIDTH):
                            result[lane] = registers[xs + lane] ^ registers[ys + lane]
                    elif what == SHIFT_LEFT:
                        stores_result = True
                        for lane in range(WIDTH):
                            y = registers[ys + lane]
                            result[lane] = registers[xs + lane] << y if y < WORD_BITS else ZERO
                    elif what == SHIFT_RIGHT:
                        stores_result = True
                        for lane in range(WIDTH):
                            y = registers[ys + lane]
                            result[lane] = registers[xs + lane] >> y if y < WORD_BITS else ZERO
                    elif what == EQUAL:
                        stores_result = True
                        for lane in range(WIDTH):
                            result[lane] = ONE if registers[xs + lane] == registers[ys + lane] else ZERO
                    elif what == LESS:
                        stores_result = True
                        for lane in range(WIDTH):
                            result[lane] = ONE if registers[xs + lane] < registers[ys + lane] else ZERO
                    elif what == LESS_OR_EQUAL:
                        stores_result = True
                        for lane in range(WIDTH):
                            result[lane] = ONE if registers[xs + lane] <= registers[ys + lane] else ZERO
                    elif what == JUMP:
                        at = start + word
                    elif what in (JUMP_IF, JUMP_UNLESS):
                        jumping = ZERO
                        for lane in range(WIDTH):
                            jumps = ONE if (registers[xs + lane] != ZERO) == (what == JUMP_IF) else ZERO
                            bad[lane] = jumps
                            jumping += jumps & alive[lane]
                        if jumping != ZERO and jumping != living:
                            trouble = ONE
                            majority = ONE if jumping * TWO >= living else ZERO
                            for lane in range(size):
                                bad[lane] = alive[lane] & (bad[lane] ^ majority)
                        if jumping * TWO >= living:
                            at = start + word
                    elif what == ARGUMENT:
                        for lane in range(size):
                            registers[into + lane] = arguments[lane_tx[lane], word]
                    elif what == SENDER:
                        for lane in range(size):
                            registers[into + lane] = lane_source[lane]
                    elif what == RECEIVER:
                        for lane in range(size):
                            registers[into + lane] = lane_target[lane]
                    elif what == AMOUNT:
                        for lane in range(size):
                            registers[into + lane] = lane_value[lane]
                    elif what == BALANCE:
                        for lane in range(size):
                            x = registers[xs + lane]
                            bad[lane] = ZERO
                            if alive[lane] != ZERO:
                                if x < accounts:
                                    registers[into + lane] = balances[x]
                                else:
                                    bad[lane] = ONE
                                    trouble = ONE
                    elif what == LOAD:
                        for lane in range(size):
                            x = registers[xs + lane]
                            bad[lane] = ZERO
                            if alive[lane] != ZERO:
                                if x < slots:
                                    registers[into + lane] = storage[x]
                                else:
                                    bad[lane] = ONE
                                    trouble = ONE
                    elif what == STORE:
                        grown = ONE
                        row = logged * WIDTH
                        for lane in range(size):
                            x = registers[xs + lane]
                            bad[lane] = ZERO
                            if alive[lane] != ZERO:
                                if x < slots:
                                    log_places[row + lane] = accounts + x
                                    log_numbers[row + lane] = storage[x]
                                    storage[x] = registers[ys + lane]
                                else:
                                    bad[lane] = ONE
                                    trouble = ONE
                    elif what == PAY:
                        grown = TWO
                        row = logged * WIDTH
                        for lane in range(size):
                            x = registers[xs + lane]
                            y = registers[ys + lane]
                            bad[lane] = ZERO
                            if alive[lane] != ZERO:
                                log_places[row + lane] = NOWHERE
                                log_places[row + WIDTH + lane] = NOWHERE
                                target = lane_target[lane]
                                fit = x < accounts and balances[target] >= y
                                if fit and x != target:
                                    held = balances[target]
                                    before = balances[x]
                                    fit = before + y >= y
                                    if fit:
                                        log_places[row + lane] = target
                                        log_numbers[row + lane] = held
                                        log_places[row + WIDTH + lane] = x
                                        log_numbers[row + WIDTH + lane] = before
                                        balances[target] = held - y
                                        balances[x] = before + y
                                if not fit:
                                    bad[lane] = ONE
                                    trouble = ONE
                    if stores_result:
                        for lane in range(WIDTH):
                            registers[into + lane] = result[lane]

                if trouble != ZERO:
                    for lane in range(size):
                        if bad[lane] != ZERO:
                            alive[lane] = ZERO
                            living -= ONE
                            t = lane_tx[lane]
                            left[leaving] = uint32(t)
                            leaving += ONE
                            if nonce[t] != ANY:
                                nonces[lane_source[lane]] = nonce[t]
                            row = logged
                            while row > ZERO:
                                row -= ONE
                                written = log_places[row * WIDTH + lane]
                                if written < accounts:
                                    balances[written] = log_numbers[row * WIDTH + lane]
                                elif written != NOWHERE:
                                    storage[written - accounts] = log_numbers[row * WIDTH + lane]
                logged += grown

            for lane in range(size):
                if alive[lane] != ZERO:
                    status[lane_tx[lane]] = SUCCESS
                    gas_used[lane_tx[lane]] = used
        left_count[0] = leaving

    left_behind = [writes("uint32"), writes("uint64")]
    return compiled([*LEDGER, reads("uint32"), *BATCH, *CODE, *RECEIPTS, *left_behind])(kernel)


run_in_lockstep = _build()
"""Execute the transactions that `order` lists, which touch nothing in common, and list in `left` those that the scalar
kernel must still execute; ``left_count[0]`` becomes their number."""
