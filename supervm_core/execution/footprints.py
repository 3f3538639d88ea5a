"""What a program can touch, found by reading it once: the static half of the question which calls may go side by side.

Most programs find the accounts and slots that they touch in the transaction itself: a slot is an argument, an account
the sender. Such a program has a *footprint*: the finite set of origins from which the places of its touching
instructions can come. Which places those are is known for every call before any runs.

The set is found by following, for each instruction that can be reached, where each register's contents may have come
from: a constant (registers begin as zero), an argument, the sender, the receiver, copied at will. The result of a
computation or of a read has no such origin. Where an instruction can be reached on several ways, their origins are
united, until nothing changes any more. This takes more ways into account than a call can go, never fewer, so a
footprint may name too much and never too little. A program whose places depend on what it computes or reads has no
footprint; a call of it must declare an access list, or wait for its turn alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from supervm_core.columns import U8, U64
from supervm_core.programs import OPERATIONS, REGISTERS, REMEMBERED_TABLES, Instruction, Op, Operand, Program
from supervm_core.transactions import Batch, Kind

MOST_ORIGINS = 8
"""A register that may hold more different things than this counts as computed: looking them all up would not pay."""

REMEMBERED_PROGRAMS = 1_024


class Source(IntEnum):
    """Where the number of a place comes from."""

    CONSTANT = 0
    ARGUMENT = 1
    SENDER = 2
    RECEIVER = 3


class Origin(NamedTuple):
    """A source, and which constant or argument it is."""

    source: Source
    value: int = 0


class Touch(NamedTuple):
    """One place that a call may touch."""

    is_slot: bool
    origin: Origin


Origins = frozenset[Origin] | None
"""What a register may hold; None where that is computed or read."""

_TOUCHES = {Op.BALANCE: False, Op.PAY: False, Op.LOAD: True, Op.STORE: True}
"""Operations that touch the place in register a, and whether it is a slot."""


@lru_cache(maxsize=REMEMBERED_PROGRAMS)
def footprint(program: Program) -> frozenset[Touch] | None:
    """Everything that a call of `program` may touch besides sender and receiver; None where only running it can tell.

    An invalid program touches nothing.
    """
    if not program.is_valid:
        return frozenset()
    touches: set[Touch] = set()
    for instruction, registers in _reached(program):
        if instruction.op in _TOUCHES:
            origins = registers[instruction.a]
            if origins is None:
                return None
            is_slot = _TOUCHES[Op(instruction.op)]
            # Sender and receiver belong to every footprint as accounts.
            touches.update(
                Touch(is_slot, origin)
                for origin in origins
                if is_slot or origin.source not in (Source.SENDER, Source.RECEIVER)
            )
    return frozenset(touches)


def _reached(program: Program) -> list[tuple[Instruction, tuple[Origins, ...]]]:
    """Each instruction that can be reached, with what the registers may hold before it."""
    zero: Origins = frozenset([Origin(Source.CONSTANT)])
    before: dict[int, tuple[Origins, ...]] = {}
    waiting: list[tuple[int, tuple[Origins, ...]]] = [(0, (zero,) * REGISTERS)]
    while waiting:
        at, arriving = waiting.pop()
        if at == len(program):
            continue
        known = before.get(at)
        united = arriving if known is None else tuple(map(_unite, known, arriving))
        if united == known:
            continue
        before[at] = united
        instruction = program.instructions[at]
        after = _after(instruction, united)
        waiting.extend((following, after) for following in _following(instruction, at))
    return [(program.instructions[at], registers) for at, registers in before.items()]


def _unite(some: Origins, others: Origins) -> Origins:
    if some is None or others is None or len(some | others) > MOST_ORIGINS:
        return None
    return some | others


def _after(instruction: Instruction, registers: tuple[Origins, ...]) -> tuple[Origins, ...]:
    """What the registers may hold after the instruction."""
    op, into, a, _, immediate = instruction
    if Operand.DST not in OPERATIONS[Op(op)].operands:
        return registers
    origins: Origins
    match op:
        case Op.SET:
            origins = frozenset([Origin(Source.CONSTANT, immediate)])
        case Op.ARGUMENT:
            origins = frozenset([Origin(Source.ARGUMENT, immediate)])
        case Op.SENDER:
            origins = frozenset([Origin(Source.SENDER)])
        case Op.RECEIVER:
            origins = frozenset([Origin(Source.RECEIVER)])
        case Op.MOVE:
            origins = registers[a]
        case _:
            origins = None
    return (*registers[:into], origins, *registers[into + 1 :])


def _following(instruction: Instruction, at: int) -> tuple[int, ...]:
    """The instructions that may come next."""
    match instruction.op:
        case Op.STOP | Op.REVERT:
            return ()
        case Op.JUMP:
            return (instruction.immediate,)
        case Op.JUMP_IF | Op.JUMP_UNLESS:
            return (at + 1, instruction.immediate)
        case _:
            return (at + 1,)


@dataclass(frozen=True, eq=False)
class Footprints:
    """The footprints of a table of programs as columns, one place per touch, program after program."""

    known: U8
    """By program: 1 if it has a footprint."""
    bounds: U64
    """Touches of program p stand from `bounds[p]` to `bounds[p + 1]`."""
    is_slot: U8
    source: U8
    value: U64

    @classmethod
    @lru_cache(maxsize=REMEMBERED_TABLES)
    def of(cls, programs: tuple[Program, ...]) -> Footprints:
        """Find the footprints and lay them out; the last few tables are remembered."""
        found = [footprint(program) for program in programs]
        touches = [touch for each in found for touch in sorted(each or ())]
        return cls(
            known=np.array([each is not None for each in found], np.uint8),
            bounds=np.cumsum([0, *[len(each or ()) for each in found]]).astype(np.uint64),
            is_slot=np.array([touch.is_slot for touch in touches], np.uint8),
            source=np.array([touch.origin.source for touch in touches], np.uint8),
            value=np.array([touch.origin.value for touch in touches], np.uint64),
        )


def keys(batch: Batch, accounts: int, width: int) -> U64:
    """What transactions will probably write, for those who only have to guess (`supervm_core.control`).

    Parameters
    ----------
    batch : Batch
        Any.
    accounts : int
        Of the ledger; slots are numbered behind them.
    width : int
        Keys by transaction, at least 2.

    Returns
    -------
    ndarray of uint64, shape (n, width)
        Sender and receiver, then the first places of a call's footprint; repeated where there are fewer.
    """
    found = np.empty((len(batch), width), np.uint64)
    found[:, 0] = batch.sender
    found[:, 1:] = batch.receiver[:, np.newaxis]
    for number, program in enumerate(batch.programs):
        calling = np.flatnonzero((batch.kind == Kind.CALL) & (batch.program == number))
        for column, touch in zip(range(2, width), sorted(footprint(program) or ()), strict=False):
            source, value = touch.origin
            match source:
                case Source.CONSTANT:
                    place = np.full(calling.size, value, np.uint64)
                case Source.ARGUMENT:
                    place = batch.arguments[calling, value]
                case Source.SENDER:
                    place = batch.sender[calling].astype(np.uint64)
                case Source.RECEIVER:
                    place = batch.receiver[calling].astype(np.uint64)
            found[calling, column] = place + np.uint64(accounts if touch.is_slot else 0)
    return found
