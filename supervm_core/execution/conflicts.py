"""Which transactions must wait for which: the order of dependency, found in one pass over a window of a batch.

Every transaction gets a *level*: one more than the highest level of an earlier transaction that touches a place which
it may touch too, and the first level where there is none. Two transactions of one level touch nothing in common.
Levels are then sorted: `order` lists the window level by level, and where it says so, in batch order.

Why it is exact. Two transactions that touch nothing in common can change places without any difference to the state, to
their statuses or to their gas: each finds and leaves the same numbers. Where two do touch something in common the later
one has the higher level, and `order` is sorted by level, so it never exchanges such a pair; within a level there is no
pair to exchange. All touching counts as writing, which can only forbid more. What a transaction may touch is its sender
and receiver, and for a call its access list if it declares one, else its program's footprint; a call with neither gets
a level of its own, after everything before it and before everything after it.

How a level is found without looking at pairs: for each account and slot the table holds the level of the last
transaction that touched it. Levels go on counting from window to window, so that what an earlier window left in the
tables is lower than any level of this one and nothing has to be cleared.

Only broad levels are worth the sorting. From the first narrow one on (at the latest after `MOST_LEVELS`) the
transactions stay in batch order, which respects every dependency by itself. Within a level, calls of the same program
stand together (programs after the first `MOST_CLASSES` - 1 share a class with everything else).
"""
# ruff: noqa: N806  (constants keep their names inside the closure)

from __future__ import annotations

from typing import Any

import numpy as np

from supervm_core.columns import U8, U32, U64
from supervm_core.execution.compiling import compiled, prefetch, reads, writes
from supervm_core.execution.footprints import Source
from supervm_core.transactions import NO_ACCESS_LIST, Kind

MOST_LEVELS = 64
MOST_CLASSES = 32

NARROW = 256
"""A level with fewer transactions is not worth its blocks: two threads would get one each."""

HIGHEST_LEVEL = 2**32 - 1
"""What the tables can hold; they are cleared before a window could reach it."""


def _build() -> Any:
    uint64, uint32 = np.uint64, np.uint32
    ZERO, ONE, TWO = uint64(0), uint64(1), uint64(2)
    CALL, NO_LIST = np.uint8(Kind.CALL), uint64(NO_ACCESS_LIST)
    CONSTANT, ARGUMENT, SENDER = map(np.uint8, (Source.CONSTANT, Source.ARGUMENT, Source.SENDER))
    LEVELS, CLASSES, LEAST_WIDTH = uint64(MOST_LEVELS), uint64(MOST_CLASSES), uint64(NARROW)
    AHEAD = uint64(16)

    def kernel(
        account_level: U32,
        slot_level: U32,
        floor: U64,
        start: U64,
        kind: U8,
        sender: U32,
        receiver: U32,
        program: U32,
        arguments: U64,
        access: U32,
        bounds: U64,
        places: U64,
        known: U8,
        touch_bounds: U64,
        touch_is_slot: U8,
        touch_source: U8,
        touch_value: U64,
        levels: U32,
        order: U32,
        ends: U64,
    ) -> None:
        accounts = uint64(account_level.size)
        slots = uint64(slot_level.size)
        programs = uint64(known.size)
        lists = uint64(bounds.size) // TWO
        total = uint64(order.size)
        base = floor[0]
        least = base
        highest = base
        offset = start[0]
        counts = np.zeros(LEVELS * CLASSES, np.uint64)

        for turn in range(total):
            t = offset + turn
            later = min(t + AHEAD, offset + total - ONE)
            prefetch(account_level, uint64(sender[later]))
            prefetch(account_level, uint64(receiver[later]))
            source = uint64(sender[t])
            target = uint64(receiver[t])
            level = least
            if source < accounts:
                level = max(level, uint64(account_level[source]))
            if target < accounts:
                level = max(level, uint64(account_level[target]))

            first = ZERO
            last = ZERO
            middle = ZERO
            declares = False
            alone = False
            sort = ZERO
            if kind[t] == CALL:
                place = uint64(program[t])
                declared = uint64(access[t])
                if place + ONE < CLASSES:
                    sort = place + ONE
                if declared != NO_LIST:
                    declares = True
                    if declared < lists:
                        first = bounds[TWO * declared]
                        middle = bounds[TWO * declared + ONE]
                        last = bounds[TWO * declared + TWO]
                elif place < programs:
                    if known[place] == 0:
                        alone = True
                    first = touch_bounds[place]
                    last = touch_bounds[place + ONE]

            # Twice over the same places: first to find the level, then to set it.
            for each in range(first, last):
                if declares:
                    key = places[each]
                    is_slot = each >= middle
                else:
                    origin = touch_source[each]
                    is_slot = touch_is_slot[each] != 0
                    key = touch_value[each]
                    if origin == ARGUMENT:
                        key = arguments[t, key]
                    elif origin != CONSTANT:
                        key = source if origin == SENDER else target
                if is_slot:
                    if key < slots:
                        level = max(level, uint64(slot_level[key]))
                elif key < accounts:
                    level = max(level, uint64(account_level[key]))
            if alone:
                level = highest
            level += ONE
            for each in range(first, last):
                if declares:
                    key = places[each]
                    is_slot = each >= middle
                else:
                    origin = touch_source[each]
                    is_slot = touch_is_slot[each] != 0
                    key = touch_value[each]
                    if origin == ARGUMENT:
                        key = arguments[t, key]
                    elif origin != CONSTANT:
                        key = source if origin == SENDER else target
                if is_slot:
                    if key < slots:
                        slot_level[key] = uint32(level)
                elif key < accounts:
                    account_level[key] = uint32(level)
            if source < accounts:
                account_level[source] = uint32(level)
            if target < accounts:
                account_level[target] = uint32(level)
            highest = max(highest, level)
            if alone:
                least = level

            above = min(level - base - ONE, LEVELS)
            levels[turn] = uint32(above * CLASSES + sort)
            if above < LEVELS:
                counts[above * CLASSES + sort] += ONE
        floor[0] = highest

        # The broad levels, each as long as it is broad; then everything else.
        broad = ZERO
        filled = ZERO
        while broad < LEVELS:
            width = ZERO
            for sort in range(CLASSES):
                width += counts[broad * CLASSES + sort]
            if width < LEAST_WIDTH:
                break
            for sort in range(CLASSES):
                size = counts[broad * CLASSES + sort]
                counts[broad * CLASSES + sort] = filled
                filled += size
            ends[broad] = filled
            broad += ONE
        floor[1] = broad
        for turn in range(total):
            cell = uint64(levels[turn])
            if cell < broad * CLASSES:
                order[counts[cell]] = uint32(offset + turn)
                counts[cell] += ONE
            else:
                order[filled] = uint32(offset + turn)
                filled += ONE

    tables = [writes("uint32"), writes("uint32"), writes("uint64"), reads("uint64")]
    transactions = [
        reads("uint8"), reads("uint32"), reads("uint32"), reads("uint32"), reads("uint64", dimensions=2),
        reads("uint32"), reads("uint64"), reads("uint64"),
    ]  # fmt: skip
    footprints = [reads("uint8"), reads("uint64"), reads("uint8"), reads("uint8"), reads("uint64")]
    results = [writes("uint32"), writes("uint32"), writes("uint64")]
    return compiled([*tables, *transactions, *footprints, *results])(kernel)


sort_by_level = _build()
"""Fill `order` with the window that begins at ``start[0]`` and is as long as `order`; `levels` is room of that length.

``floor[0]`` is the level from which to count and becomes the highest one given; ``floor[1]`` becomes the number of
broad levels, and `ends` gets where each of them ends in `order`."""
