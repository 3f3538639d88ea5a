"""Transactions and receipts as columns: a batch is a structure of arrays, not an array of structures.

A kernel that needs four fields of each transaction then reads four dense streams instead of picking through records,
and a column that no transaction uses is never touched. `Transaction` is the same thing as one row of plain numbers, for
the specification and for people.

A batch is data from outside. Its constructor settles types and lengths, nothing more: what the numbers mean (whether an
account exists, a program is valid, a kind is known) is for the executor to find out, and a bad transaction costs its
sender a failed receipt, never an exception.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from supervm_core.access import AccessLists
from supervm_core.columns import U8, U32, U64, UINT64_MAX, as_column, read_only
from supervm_core.errors import BatchError
from supervm_core.programs import ARGUMENTS, MAXIMUM_GAS, Code, Program, code_of

ANY_NONCE = UINT64_MAX
"""The nonce of an unordered transaction: it is not compared, and none is consumed."""

LAST_NONCE = ANY_NONCE - 1
"""The last nonce that an ordered transaction can carry; the account that has consumed it is exhausted."""

NO_ACCESS_LIST = 2**32 - 1
"""The access list of a call that declares none: it may touch everything."""

NO_PROGRAM, UNKNOWN_LIST = 2**32 - 1, 2**32 - 2
"""Places behind the end of any table, for a program and an access list that do not exist."""


class Kind(IntEnum):
    """What a transaction does. The numbers are the encoding: append new ones, never renumber."""

    TRANSFER = 0
    MINT = 1
    BURN = 2
    CALL = 3


class Status(IntEnum):
    """How a transaction ended. The numbers are the encoding: append new ones, never renumber."""

    SUCCESS = 0
    UNKNOWN_KIND = 1
    UNKNOWN_ACCOUNT = 2
    NONCE_MISMATCH = 3
    NONCE_EXHAUSTED = 4
    INSUFFICIENT_BALANCE = 5
    OVERFLOW = 6
    INVALID_PROGRAM = 7
    GAS_LIMIT_TOO_HIGH = 8
    OUT_OF_GAS = 9
    UNKNOWN_SLOT = 10
    DIVISION_BY_ZERO = 11
    REVERTED = 12
    UNKNOWN_ACCESS_LIST = 13
    UNDECLARED_ACCESS = 14

    @property
    def label(self) -> str:
        """The status in words: `"insufficient balance"`."""
        return self.name.lower().replace("_", " ")


class Transaction(NamedTuple):
    """One row of a batch as plain numbers."""

    kind: int
    sender: int
    receiver: int
    amount: int = 0
    nonce: int = ANY_NONCE
    program: int = 0
    """Place in the batch's table of programs; calls only."""
    gas_limit: int = MAXIMUM_GAS
    """Calls only."""
    arguments: tuple[int, ...] = (0,) * ARGUMENTS
    """Calls only."""
    access: int = NO_ACCESS_LIST
    """Place in the batch's table of access lists; calls only."""


COLUMN_TYPES: dict[str, type[np.unsignedinteger[Any]]] = {
    "kind": np.uint8,
    "sender": np.uint32,
    "receiver": np.uint32,
    "amount": np.uint64,
    "nonce": np.uint64,
    "program": np.uint32,
    "gas_limit": np.uint64,
    "arguments": np.uint64,
    "access": np.uint32,
}

NO_LISTS = AccessLists()


@dataclass(frozen=True, eq=False)
class Batch:
    """Transactions in the order of their execution, one per place in every column.

    Parameters
    ----------
    kind, sender, receiver, amount, nonce, program, gas_limit, access : array_like of int, shape (n,) or ()
        A single number stands for a column that repeats it. Arrays that already have the column's type are shared,
        not copied: leave them alone afterwards.
    arguments : array_like of int, shape (n, 4) or (4,)
        The arguments of calls.
    programs : sequence of Program
        The table that `program` points into.
    lists : AccessLists
        The table that `access` points into.

    Raises
    ------
    BatchError
        If the columns differ in length, or a value does not fit its column exactly.
    """

    kind: U8
    sender: U32
    receiver: U32
    amount: U64
    nonce: U64
    program: U32
    gas_limit: U64
    arguments: U64
    access: U32
    programs: tuple[Program, ...]
    lists: AccessLists

    def __init__(
        self,
        kind: ArrayLike,
        sender: ArrayLike,
        receiver: ArrayLike,
        amount: ArrayLike = 0,
        *,
        nonce: ArrayLike = ANY_NONCE,
        program: ArrayLike = 0,
        gas_limit: ArrayLike = MAXIMUM_GAS,
        arguments: ArrayLike = (0,) * ARGUMENTS,
        access: ArrayLike = NO_ACCESS_LIST,
        programs: Sequence[Program] = (),
        lists: AccessLists = NO_LISTS,
    ) -> None:
        given = {
            "kind": kind,
            "sender": sender,
            "receiver": receiver,
            "amount": amount,
            "nonce": nonce,
            "program": program,
            "gas_limit": gas_limit,
            "arguments": arguments,
            "access": access,
        }
        columns = {name: as_column(name, given[name], dtype, BatchError) for name, dtype in COLUMN_TYPES.items()}
        for name, column in _equally_long(columns).items():
            object.__setattr__(self, name, read_only(column))
        object.__setattr__(self, "programs", tuple(programs))
        object.__setattr__(self, "lists", lists)

    @classmethod
    def of(
        cls,
        transactions: Iterable[Transaction],
        programs: Sequence[Program] = (),
        lists: AccessLists = NO_LISTS,
    ) -> Batch:
        """A batch from rows."""
        rows = list(transactions)
        fields = zip(*rows, strict=True) if rows else [()] * len(Transaction._fields)
        columns: dict[str, Any] = dict(zip(Transaction._fields, map(list, fields), strict=True))
        if not rows:
            columns["arguments"] = np.zeros((0, ARGUMENTS), np.uint64)
        return cls(**columns, programs=programs, lists=lists)

    def __len__(self) -> int:
        return self.kind.size

    @classmethod
    def joined(cls, batches: Sequence[Batch]) -> Batch:
        """Batches one after the other, as one; each transaction keeps its program and its access list."""
        if not batches:
            return cls.of([])
        columns = {name: [getattr(batch, name) for batch in batches] for name in COLUMN_TYPES}
        programs, lists = batches[0].programs, batches[0].lists
        if any(batch.programs != programs for batch in batches):
            programs = tuple(program for batch in batches for program in batch.programs)
            columns["program"] = _moved([(batch.program, len(batch.programs)) for batch in batches], NO_PROGRAM)
        if any(batch.lists is not lists for batch in batches):
            lists = AccessLists.joined([batch.lists for batch in batches])
            moved = _moved([(batch.access, len(batch.lists)) for batch in batches], UNKNOWN_LIST)
            columns["access"] = [
                np.where(batch.access == NO_ACCESS_LIST, batch.access, places)
                for batch, places in zip(batches, moved, strict=True)
            ]
        return cls(**{name: np.concatenate(parts) for name, parts in columns.items()}, programs=programs, lists=lists)

    def __getitem__(self, places: slice | NDArray[np.integer[Any]]) -> Batch:
        """The transactions at those places, as a batch with the same tables."""
        columns = {name: getattr(self, name)[places] for name in COLUMN_TYPES}
        return Batch(**columns, programs=self.programs, lists=self.lists)

    def transactions(self) -> Iterator[Transaction]:
        """The rows, as plain numbers."""
        columns = [getattr(self, name).tolist() for name in Transaction._fields]
        for *fields, arguments, access in zip(*columns, strict=True):
            yield Transaction._make((*fields, tuple(arguments), access))

    @cached_property
    def code(self) -> Code:
        """The programs as columns, laid out when first asked for."""
        return code_of(self.programs)

    def __repr__(self) -> str:
        return f"<Batch of {len(self)} transactions and {len(self.programs)} programs>"


def _moved(columns: Sequence[tuple[U32, int]], nowhere: int) -> list[U32]:
    """Places in tables, given with each table's length, as places in all tables together; `nowhere` if in none."""
    moved, start = [], 0
    for places, length in columns:
        moved.append(np.where(places < length, places + np.uint32(start), np.uint32(nowhere)))
        start += length
    return moved


def _equally_long(columns: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Repeat single numbers to the common length, and refuse columns that disagree about it."""
    lengths = {}
    for name, column in columns.items():
        dimensions = 2 if name == "arguments" else 1
        if column.ndim > dimensions or (name == "arguments" and column.shape[-1:] != (ARGUMENTS,)):
            wanted = f"(n, {ARGUMENTS}) or ({ARGUMENTS},)" if dimensions == 2 else "(n,) or ()"
            raise BatchError(f"column {name!r} has shape {column.shape}; {wanted} is wanted")
        if column.ndim == dimensions:
            lengths[name] = len(column)
    if len(set(lengths.values())) > 1:
        stated = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise BatchError(f"columns differ in length: {stated}; every transaction has a place in each")
    length = next(iter(lengths.values()), 1)
    return {
        name: column if name in lengths else np.ascontiguousarray(np.broadcast_to(column, (length, *column.shape)))
        for name, column in columns.items()
    }


@dataclass(frozen=True, eq=False)
class Receipts:
    """What became of each transaction of a batch."""

    status: U8
    """A `Status`."""
    gas_used: U64
    """Gas that the call's instructions cost, also where it failed; 0 for other kinds."""

    def __len__(self) -> int:
        return self.status.size

    @property
    def failed(self) -> int:
        """How many transactions did not succeed."""
        return int(np.count_nonzero(self.status))

    def counts(self) -> dict[str, int]:
        """How many transactions ended with each status, by its label, in the order of `Status`; none left out."""
        numbers = np.bincount(self.status, minlength=len(Status))
        return {status.label: int(numbers[status]) for status in Status}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Receipts):
            return NotImplemented
        return np.array_equal(self.status, other.status) and np.array_equal(self.gas_used, other.gas_used)

    __hash__ = None  # type: ignore[assignment]  # compared by contents, which are arrays

    def __repr__(self) -> str:
        stated = ", ".join(f"{number} {label}" for label, number in self.counts().items() if number)
        return f"<Receipts of {len(self)} transactions: {stated or 'none'}>"
