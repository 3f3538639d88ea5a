"""The instruction set, programs made of it, and a small assembler.

The machine has 16 registers of 64 bits, all zero when a call begins, and no other memory of its own. An instruction has
a fixed width: an operation, three register numbers (dst, a, b: one byte each) and one immediate word of 64 bits.
Operations that do not use a field require it to be zero, so a program has exactly one encoding and a meaning can be
given to unused bits later. What each operation does is defined in `supervm_core.reference`; here stand its name, its
operands and its price, the three things that the assembler, the validator and the compiled kernels share.

A program is checked once, before it runs: its length, every operation, register, argument number and jump target. A
program that passes cannot leave its bounds at run time, which is why no executor checks them again. Jumps may go
backwards; every operation costs at least one unit of gas and a call may spend at most `MAXIMUM_GAS`, so every call
ends.

Text form, one instruction a line, labels before a colon, comments after a semicolon:

            argument  r0, 0        ; how often
            set       r1, 1
    again:  sub       r0, r0, r1
            jump_if   r0, again
            stop
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np

from supervm_core.columns import U8, U64, UINT64_MAX, read_only
from supervm_core.errors import ProgramError

REGISTERS = 16
ARGUMENTS = 4
MAXIMUM_INSTRUCTIONS = 1024
MAXIMUM_GAS = 1_000_000
"""The most gas that one call may ask for: about a hundredth of a second in a compiled kernel."""

REMEMBERED_TABLES = 64
"""Tables of programs whose columns are kept. A table takes some tens of kilobytes at most for each of its programs."""

# Prices in units of gas. Their order follows the cost in a compiled kernel: a register, a multiplication or division,
# a word that may not be in the cache, and a word that must also be remembered in case the call fails.
GAS_REGISTER = 1
GAS_ARITHMETIC = 3
GAS_READ = 10
GAS_WRITE = 20


class Op(IntEnum):
    """The operations. The numbers are the encoding: append new ones, never renumber."""

    STOP = 0
    REVERT = 1
    SET = 2
    MOVE = 3
    ADD = 4
    SUB = 5
    MUL = 6
    WRAPPING_ADD = 7
    WRAPPING_SUB = 8
    WRAPPING_MUL = 9
    DIV = 10
    MOD = 11
    AND = 12
    OR = 13
    XOR = 14
    SHIFT_LEFT = 15
    SHIFT_RIGHT = 16
    EQUAL = 17
    LESS = 18
    LESS_OR_EQUAL = 19
    JUMP = 20
    JUMP_IF = 21
    JUMP_UNLESS = 22
    ARGUMENT = 23
    SENDER = 24
    RECEIVER = 25
    AMOUNT = 26
    BALANCE = 27
    LOAD = 28
    STORE = 29
    PAY = 30


class Operand(IntEnum):
    """The part that a field of an instruction plays. The first three hold register numbers."""

    DST = 0
    A = 1
    B = 2
    VALUE = 3
    """The immediate, any 64-bit number."""
    INDEX = 4
    """The immediate, the number of a call argument."""
    TARGET = 5
    """The immediate, an instruction of this program; its length, meaning the end, is allowed."""


class Operation(NamedTuple):
    """What is fixed about an operation before anything runs."""

    gas: int
    operands: tuple[Operand, ...]
    """In the order of the text form."""
    meaning: str


_D, _A, _B = Operand.DST, Operand.A, Operand.B

OPERATIONS: dict[Op, Operation] = {
    Op.STOP: Operation(GAS_REGISTER, (), "end the call with success"),
    Op.REVERT: Operation(GAS_REGISTER, (), "end the call as reverted, undoing its writes"),
    Op.SET: Operation(GAS_REGISTER, (_D, Operand.VALUE), "dst = value"),
    Op.MOVE: Operation(GAS_REGISTER, (_D, _A), "dst = a"),
    Op.ADD: Operation(GAS_REGISTER, (_D, _A, _B), "dst = a + b, or fail with overflow"),
    Op.SUB: Operation(GAS_REGISTER, (_D, _A, _B), "dst = a - b, or fail with overflow below zero"),
    Op.MUL: Operation(GAS_ARITHMETIC, (_D, _A, _B), "dst = a * b, or fail with overflow"),
    Op.WRAPPING_ADD: Operation(GAS_REGISTER, (_D, _A, _B), "dst = a + b modulo 2**64"),
    Op.WRAPPING_SUB: Operation(GAS_REGISTER, (_D, _A, _B), "dst = a - b modulo 2**64"),
    Op.WRAPPING_MUL: Operation(GAS_ARITHMETIC, (_D, _A, _B), "dst = a * b modulo 2**64"),
    Op.DIV: Operation(GAS_ARITHMETIC, (_D, _A, _B), "dst = a / b rounded down, or fail with division by zero"),
    Op.MOD: Operation(GAS_ARITHMETIC, (_D, _A, _B), "dst = a modulo b, or fail with division by zero"),
    Op.AND: Operation(GAS_REGISTER, (_D, _A, _B), "dst = bits set in both a and b"),
    Op.OR: Operation(GAS_REGISTER, (_D, _A, _B), "dst = bits set in a or b"),
    Op.XOR: Operation(GAS_REGISTER, (_D, _A, _B), "dst = bits set in exactly one of a and b"),
    Op.SHIFT_LEFT: Operation(GAS_REGISTER, (_D, _A, _B), "dst = a shifted left by b bits; 0 from 64 bits on"),
    Op.SHIFT_RIGHT: Operation(GAS_REGISTER, (_D, _A, _B), "dst = a shifted right by b bits; 0 from 64 bits on"),
    Op.EQUAL: Operation(GAS_REGISTER, (_D, _A, _B), "dst = 1 if a = b else 0"),
    Op.LESS: Operation(GAS_REGISTER, (_D, _A, _B), "dst = 1 if a < b else 0"),
    Op.LESS_OR_EQUAL: Operation(GAS_REGISTER, (_D, _A, _B), "dst = 1 if a <= b else 0"),
    Op.JUMP: Operation(GAS_REGISTER, (Operand.TARGET,), "go on at target"),
    Op.JUMP_IF: Operation(GAS_REGISTER, (_A, Operand.TARGET), "go on at target if a is not 0"),
    Op.JUMP_UNLESS: Operation(GAS_REGISTER, (_A, Operand.TARGET), "go on at target if a is 0"),
    Op.ARGUMENT: Operation(GAS_REGISTER, (_D, Operand.INDEX), "dst = the call's argument of that index"),
    Op.SENDER: Operation(GAS_REGISTER, (_D,), "dst = the sender's account"),
    Op.RECEIVER: Operation(GAS_REGISTER, (_D,), "dst = the receiver's account"),
    Op.AMOUNT: Operation(GAS_REGISTER, (_D,), "dst = the amount sent with the call"),
    Op.BALANCE: Operation(GAS_READ, (_D, _A), "dst = balance of account a, or fail with unknown account"),
    Op.LOAD: Operation(GAS_READ, (_D, _A), "dst = storage word a, or fail with unknown slot"),
    Op.STORE: Operation(GAS_WRITE, (_A, _B), "storage word a = b, or fail with unknown slot"),
    Op.PAY: Operation(GAS_WRITE, (_A, _B), "move amount b from the receiver to account a, or fail as a transfer does"),
}


class Instruction(NamedTuple):
    """One instruction as plain numbers; fields that the operation does not use are zero."""

    op: int
    dst: int = 0
    a: int = 0
    b: int = 0
    immediate: int = 0


@dataclass(frozen=True)
class Program:
    """A sequence of instructions, valid or not: a batch may carry any, and a call of an invalid one fails.

    Raises
    ------
    ProgramError
        If a field does not fit its width (8 bits; 64 for the immediate): such a program has no encoding at all.
    """

    instructions: tuple[Instruction, ...]

    def __init__(self, instructions: Iterable[Instruction]) -> None:
        object.__setattr__(self, "instructions", tuple(instructions))
        for position, instruction in enumerate(self.instructions):
            if not (all(0 <= field <= 255 for field in instruction[:4]) and 0 <= instruction.immediate <= UINT64_MAX):
                raise ProgramError(
                    f"instruction {position} does not fit its encoding of four bytes and a word: {instruction}"
                )

    def __len__(self) -> int:
        return len(self.instructions)

    @property
    def is_valid(self) -> bool:
        """Whether a call may run this program."""
        return self.flaw is None

    @cached_property
    def flaw(self) -> str | None:
        """The first reason why no call may run this program, or None."""
        if not 1 <= len(self) <= MAXIMUM_INSTRUCTIONS:
            return f"a program has 1 to {MAXIMUM_INSTRUCTIONS} instructions, this one {len(self)}"
        for position, instruction in enumerate(self.instructions):
            flaw = instruction_flaw(instruction, len(self))
            if flaw is not None:
                return f"instruction {position}: {flaw}"
        return None


def instruction_flaw(instruction: Instruction, length: int) -> str | None:
    """Why `instruction` may not stand in a program of `length` instructions, or None."""
    op, *registers, immediate = instruction
    if op not in OPERATIONS:
        return f"there is no operation {op}"
    operands = OPERATIONS[Op(op)].operands
    for role, register in zip((_D, _A, _B), registers, strict=True):
        if role in operands and register >= REGISTERS:
            return f"there is no register r{register}, only r0 to r{REGISTERS - 1}"
        if role not in operands and register:
            return f"{Op(op).name.lower()} does not use field {role.name.lower()}, which must be 0, not {register}"
    if Operand.INDEX in operands and immediate >= ARGUMENTS:
        return f"there is no argument {immediate}, only 0 to {ARGUMENTS - 1}"
    if Operand.TARGET in operands and immediate > length:
        return f"jump target {immediate} lies beyond the end, {length}"
    if not {Operand.VALUE, Operand.INDEX, Operand.TARGET} & set(operands) and immediate:
        return f"{Op(op).name.lower()} does not use the immediate, which must be 0, not {immediate}"
    return None


@dataclass(frozen=True, eq=False)
class Code:
    """The programs of a batch as columns, one place per instruction, program after program.

    An invalid program occupies no places: executors look at `valid` first.
    """

    valid: U8
    """By program: 1 if calls may run it."""
    first: U64
    """By program: place of its first instruction."""
    last: U64
    """By program: the place after its last instruction."""
    op: U8
    dst: U8
    a: U8
    b: U8
    immediate: U64
    """Jump targets stay relative to `first`."""
    gas: U64
    """Price of the instruction."""

    @classmethod
    def pack(cls, programs: Sequence[Program]) -> Code:
        """Lay the valid ones of `programs` out as columns."""
        bodies = [program.instructions if program.is_valid else () for program in programs]
        lengths = np.array([len(body) for body in bodies], np.uint64)
        last = np.cumsum(lengths, dtype=np.uint64)
        rows = [instruction for body in bodies for instruction in body]

        def bytes_of(field: int) -> U8:
            return read_only(np.array([row[field] for row in rows], np.uint8))

        return cls(
            valid=read_only(np.array([program.is_valid for program in programs], np.uint8)),
            first=read_only(last - lengths),
            last=read_only(last),
            op=bytes_of(0),
            dst=bytes_of(1),
            a=bytes_of(2),
            b=bytes_of(3),
            immediate=read_only(np.array([row.immediate for row in rows], np.uint64)),
            gas=read_only(np.array([OPERATIONS[Op(row.op)].gas for row in rows], np.uint64)),
        )


@lru_cache(maxsize=REMEMBERED_TABLES)
def code_of(programs: tuple[Program, ...]) -> Code:
    """`Code.pack` that remembers: the batches of a stream carry the same few programs, and packing takes a while."""
    return Code.pack(programs)


_NAMES = {op.name.lower(): op for op in Op}
_LABEL = re.compile(r"\s*([A-Za-z_]\w*)\s*:")
_REGISTER = re.compile(r"r(0|[1-9]\d*)")
_NUMBER = re.compile(r"0[xX][0-9a-fA-F_]+|[0-9][0-9_]*")


def assemble(text: str) -> Program:
    """Translate the text form into a program; what comes back is always valid.

    Parameters
    ----------
    text : str
        Instructions as the module describes them. Numbers are decimal or 0x hexadecimal, with underscores at will; a
        jump names a label, which may stand on a line of its own and at the very end.

    Raises
    ------
    ProgramError
        With the line and the remedy.
    """
    labels: dict[str, int] = {}
    lines: list[tuple[int, str, list[str]]] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.split(";", 1)[0]
        while (match := _LABEL.match(line)) is not None:
            label = match[1]
            if label in labels:
                raise ProgramError(f"label {label!r} was already given; choose another name", line=number)
            labels[label] = len(lines)
            line = line[match.end() :]
        name, _, rest = line.strip().partition(" ")
        if name:
            lines.append((number, name, [part.strip() for part in rest.split(",")] if rest.strip() else []))
    program = Program(_instruction(name, parts, labels, number) for number, name, parts in lines)
    for (number, _, _), instruction in zip(lines, program.instructions, strict=True):
        flaw = instruction_flaw(instruction, len(program))
        if flaw is not None:
            raise ProgramError(flaw, line=number)
    if program.flaw is not None:
        raise ProgramError(program.flaw)
    return program


def _instruction(name: str, parts: list[str], labels: dict[str, int], line: int) -> Instruction:
    op = _NAMES.get(name)
    if op is None:
        near = difflib.get_close_matches(name, _NAMES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(_NAMES)}"
        raise ProgramError(f"there is no instruction {name!r}; {hint}", line=line)
    operands = OPERATIONS[op].operands
    if len(parts) != len(operands):
        wanted = " ".join([name, ", ".join(role.name.lower() for role in operands)]).strip()
        raise ProgramError(f"{name!r} has {len(parts)} operands; write {wanted!r}", line=line)
    fields = {role: _operand(role, part, labels, line) for role, part in zip(operands, parts, strict=True)}
    immediate = next((fields[role] for role in operands if role > _B), 0)
    return Instruction(op, fields.get(_D, 0), fields.get(_A, 0), fields.get(_B, 0), immediate)


def _operand(role: Operand, part: str, labels: dict[str, int], line: int) -> int:
    if role <= _B:
        match = _REGISTER.fullmatch(part)
        if match is None or int(match[1]) >= REGISTERS:
            raise ProgramError(f"{part!r} is no register; write r0 to r{REGISTERS - 1}", line=line)
        return int(match[1])
    if role is Operand.TARGET:
        if part not in labels:
            raise ProgramError(f"there is no label {part!r}; write '{part}:' before its instruction", line=line)
        return labels[part]
    if _NUMBER.fullmatch(part) is None:
        raise ProgramError(f"{part!r} is no number; write it as 1234, 1_234 or 0x4d2", line=line)
    try:
        value = int(part, 0) if part[:2].lower() == "0x" else int(part)
    except ValueError as misplaced:
        raise ProgramError(f"{part!r} is no number; an underscore is misplaced", line=line) from misplaced
    if value > UINT64_MAX:
        raise ProgramError(f"{part} does not fit 64 bits", line=line)
    return value


def disassemble(program: Program) -> str:
    """Write a valid program in the text form; `assemble` turns it back into the same program.

    Raises
    ------
    ProgramError
        If the program is invalid, with its flaw.
    """
    if program.flaw is not None:
        raise ProgramError(f"an invalid program has no text form: {program.flaw}")
    targets = sorted({i.immediate for i in program.instructions if Operand.TARGET in OPERATIONS[Op(i.op)].operands})
    label = {target: f"at{target}" for target in targets}
    lines = []
    for position, instruction in enumerate(program.instructions):
        parts = []
        for role in OPERATIONS[Op(instruction.op)].operands:
            if role <= _B:
                parts.append(f"r{instruction[1 + role]}")
            elif role is Operand.TARGET:
                parts.append(label[instruction.immediate])
            else:
                parts.append(str(instruction.immediate))
        prefix = f"{label[position]}:" if position in label else ""
        lines.append(f"{prefix:<8}{Op(instruction.op).name.lower()} {', '.join(parts)}".rstrip())
    if len(program) in label:
        lines.append(f"{label[len(program)]}:")
    return "\n".join(lines) + "\n"
