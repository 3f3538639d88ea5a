"""Decoding in compiled form: records to columns, and 20-byte addresses to account numbers.

An address is held as three words: its bytes 0..7, 8..15 and 16..19 as little-endian numbers. The directory is an
open-addressing hash table. A slot is three words too, those of the address with the account's number in the upper half
of the last: everything that a lookup compares lies together, usually in one cache line. A free slot carries the number
`UNKNOWN`.

Why it is exact. A lookup begins at the slot that the address's hash names and goes on, slot by slot and around the end,
until it meets the whole address, all 20 bytes, or a free slot. Addresses are only ever added, each at the first free
slot of that same walk, so no free slot can stand before an address that is there; and the table is never more than half
full, so every walk ends. The hash decides how long a walk is, never what it finds. It is mixed with a secret seed, so
that whoever makes addresses cannot easily choose ones that all begin at the same slot.

Every other field is cut out of its word by shifts, and each record is decoded without regard to any other: workers that
take a range each write different places of the columns. The records' words have the machine's byte order here.
"""
# ruff: noqa: N806  (constants keep their names inside the closure)

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from supervm_core.columns import U8, U32, U64
from supervm_core.execution.compiling import compiled, prefetch, reads, writes
from supervm_core.programs import ARGUMENTS

WORDS = 3
"""Words of an address, and of a slot."""

UNKNOWN = 2**32 - 1
"""The account number of an address that the directory does not have. No state has so many accounts."""

RECORD_WORDS = 14
"""Words of a record; `supervm_core.wire` draws it."""

TOGETHER = 32
"""Records whose slots are asked for before the first of them is looked up: as many as memory serves at once."""


@njit(nogil=True)
def _hashed(a: Any, b: Any, c: Any, seed: Any) -> Any:
    """Mix the three words; stands beside the kernels that use it, whose cached code must never disagree about it."""
    half = np.uint64(32)
    mixed = (a ^ seed) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> half) ^ b) * np.uint64(0xC2B2AE3D27D4EB4F)
    mixed = (mixed ^ (mixed >> half) ^ c) * np.uint64(0xD6E8FEB86659FD93)
    return mixed ^ (mixed >> half)


def _build_insert() -> Any:
    uint64 = np.uint64
    ZERO, ONE, HALF, LOWER = uint64(0), uint64(1), uint64(32), uint64(2**32 - 1)
    FREE = uint64(UNKNOWN)

    def kernel(slots: U64, seed: U64, addresses: U64, start: U64, duplicate: U64) -> None:
        mask = uint64(slots.shape[0]) - ONE
        for row in range(start[0], uint64(addresses.shape[0])):
            a = addresses[row, 0]
            b = addresses[row, 1]
            c = addresses[row, 2]
            at = _hashed(a, b, c, seed[0]) & mask
            while (slots[at, 2] >> HALF) != FREE:
                if slots[at, 0] == a and slots[at, 1] == b and (slots[at, 2] & LOWER) == c:
                    duplicate[0] = slots[at, 2] >> HALF
                    duplicate[1] = row
                    return
                at = (at + ONE) & mask
            slots[at, 0] = a
            slots[at, 1] = b
            slots[at, 2] = c | (row << HALF)
        duplicate[0] = FREE
        duplicate[1] = ZERO

    table = [writes("uint64", dimensions=2), reads("uint64")]
    return compiled([*table, reads("uint64", dimensions=2), reads("uint64"), writes("uint64")])(kernel)


def _build_lookup() -> Any:
    uint64, uint32 = np.uint64, np.uint32
    ONE, HALF, LOWER = uint64(1), uint64(32), uint64(2**32 - 1)
    FREE = uint64(UNKNOWN)

    def kernel(slots: U64, seed: U64, addresses: U64, accounts: U32) -> None:
        mask = uint64(slots.shape[0]) - ONE
        for row in range(uint64(addresses.shape[0])):
            a = addresses[row, 0]
            b = addresses[row, 1]
            c = addresses[row, 2]
            at = _hashed(a, b, c, seed[0]) & mask
            while (slots[at, 2] >> HALF) != FREE and not (
                slots[at, 0] == a and slots[at, 1] == b and (slots[at, 2] & LOWER) == c
            ):
                at = (at + ONE) & mask
            accounts[row] = uint32(slots[at, 2] >> HALF)

    table = [reads("uint64", dimensions=2), reads("uint64")]
    return compiled([*table, reads("uint64", dimensions=2), writes("uint32")])(kernel)


def _build_decode() -> Any:
    uint64, uint32, uint8 = np.uint64, np.uint32, np.uint8
    ZERO, ONE, TWO, HALF, LOWER = uint64(0), uint64(1), uint64(2), uint64(32), uint64(2**32 - 1)
    FREE, BYTE, RESERVED = uint64(UNKNOWN), uint64(0xFF), uint64(0xFFFFFF00)
    BLOCK, SLOT_WORDS = uint64(TOGETHER), uint64(WORDS)
    ARGUMENT_COUNT = uint64(ARGUMENTS)

    def kernel(
        slots: U64,
        seed: U64,
        records: U64,
        flawed: U64,
        kind: U8,
        sender: U32,
        receiver: U32,
        amount: U64,
        nonce: U64,
        program: U32,
        gas_limit: U64,
        arguments: U64,
        access: U32,
    ) -> None:
        mask = uint64(slots.shape[0]) - ONE
        total = uint64(records.shape[0])
        first = np.empty((BLOCK, TWO), np.uint64)
        flawed[0] = total
        block = ZERO
        while block < total:
            size = min(BLOCK, total - block)
            for lane in range(size):
                row = block + lane
                middle = records[row, 11]
                at = _hashed(records[row, 9], records[row, 10], middle & LOWER, seed[0]) & mask
                prefetch(slots, at * SLOT_WORDS)
                first[lane, 0] = at
                at = (
                    _hashed(
                        (middle >> HALF) | (records[row, 12] << HALF),
                        (records[row, 12] >> HALF) | (records[row, 13] << HALF),
                        records[row, 13] >> HALF,
                        seed[0],
                    )
                    & mask
                )
                prefetch(slots, at * SLOT_WORDS)
                first[lane, 1] = at
            for lane in range(size):
                row = block + lane
                head = records[row, 0]
                lists = records[row, 1]
                if (head & RESERVED) != ZERO or (lists >> HALF) != ZERO:
                    flawed[0] = min(flawed[0], row)
                kind[row] = uint8(head & BYTE)
                program[row] = uint32(head >> HALF)
                access[row] = uint32(lists & LOWER)
                amount[row] = records[row, 2]
                nonce[row] = records[row, 3]
                gas_limit[row] = records[row, 4]
                for place in range(ARGUMENT_COUNT):
                    arguments[row, place] = records[row, uint64(5) + place]
                middle = records[row, 11]
                for side in range(TWO):
                    if side == ZERO:
                        a = records[row, 9]
                        b = records[row, 10]
                        c = middle & LOWER
                    else:
                        a = (middle >> HALF) | (records[row, 12] << HALF)
                        b = (records[row, 12] >> HALF) | (records[row, 13] << HALF)
                        c = records[row, 13] >> HALF
                    at = first[lane, side]
                    while (slots[at, 2] >> HALF) != FREE and not (
                        slots[at, 0] == a and slots[at, 1] == b and (slots[at, 2] & LOWER) == c
                    ):
                        at = (at + ONE) & mask
                    if side == ZERO:
                        sender[row] = uint32(slots[at, 2] >> HALF)
                    else:
                        receiver[row] = uint32(slots[at, 2] >> HALF)
            block += size

    table = [reads("uint64", dimensions=2), reads("uint64")]
    columns = [
        writes("uint8"), writes("uint32"), writes("uint32"), writes("uint64"), writes("uint64"), writes("uint32"),
        writes("uint64"), writes("uint64", dimensions=2), writes("uint32"),
    ]  # fmt: skip
    return compiled([*table, reads("uint64", dimensions=2), writes("uint64"), *columns])(kernel)


insert = _build_insert()
"""Enter ``addresses[start:]`` as accounts start, start + 1, ...; `duplicate` gets the two accounts of an address that
was already there (the rest is then not entered), or `UNKNOWN` and 0."""

lookup = _build_lookup()
"""The account of each address, or `UNKNOWN`."""

decode = _build_decode()
"""Fill the columns from records; `flawed` gets the first record whose reserved bits are not zero, or their number."""
