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

How a level is found without looking at pairs: for each account, and behind them for each slot, a table holds the level
of the last transaction that touched it. Levels go on counting from window to window, so that what an earlier window
left in the table is lower than any level of this one and nothing has to be cleared.

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

MOST_PLACES = 64
"""Places of a footprint or list that are looked up; a call with more waits alone, as if it named none."""

TOGETHER = 32
"""Transactions whose places are asked for before the first of them is looked at: as many as memory serves at once."""

HIGHEST_LEVEL = 2**32 - 1
"""What the table can hold; it is cleared before a window could reach it."""


def _build() -> Any:
    uint64, uint32 = np.uint64, np.uint32
    ZERO, ONE, TWO = uint64(0), uint64(1), uint64(2)
    CALL, NO_LIST = np.uint8(Kind.CALL), uint64(NO_ACCESS_LIST)
    CONSTANT, ARGUMENT, SENDER = map(np.uint8, (Source.CONSTANT, Source.ARGUMENT, Source.SENDER))
    LEVELS, CLASSES, LEAST_WIDTH = uint64(MOST_LEVELS), uint64(MOST_CLASSES), uint64(NARROW)
    BLOCK, MOST = uint64(TOGETHER), uint64(MOST_PLACES)

    def kernel(
        last_level: U32,
        accounts_and_slots: U64,
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
        accounts = accounts_and_slots[0]
        slots = accounts_and_slots[1]
        programs = uint64(known.size)
        lists = uint64(bounds.size) // TWO
        total = uint64(order.size)
        base = floor[0]
        least = base
        highest = base
        counts = np.zeros(LEVELS * CLASSES, np.uint64)
        keys = np.empty(BLOCK * (MOST + TWO), np.uint64)
        key_bounds = np.zeros(BLOCK + ONE, np.uint64)
        alone = np.zeros(BLOCK, np.uint8)

        block = ZERO
        while block < total:
            # First collect a few transactions' keys and ask for their levels, then look at them.
            size = min(BLOCK, total - block)
            filled = ZERO
            for lane in range(size):
                t = start[0] + block + lane
                source = uint64(sender[t])
                target = uint64(receiver[t])
                alone[lane] = 0
                if source < accounts:
                    keys[filled] = source
                    filled += ONE
                    prefetch(last_level, source)
                if target < accounts:
                    keys[filled] = target
                    filled += ONE
                    prefetch(last_level, target)
                sort = ZERO
                first = ZERO
                middle = ZERO
                last = ZERO
                declares = False
                if kind[t] == CALL:
                    place = uint64(program[t])
                    declared = uint64(access[t])
                    declares = declared != NO_LIST
                    if place + ONE < CLASSES:
                        sort = place + ONE
                    if declares and declared < lists:
                        first = bounds[TWO * declared]
                        middle = bounds[TWO * declared + ONE]
                        last = bounds[TWO * declared + TWO]
                    elif not declares and place < programs:
                        first = touch_bounds[place]
                        last = touch_bounds[place + ONE]
                        if known[place] == 0:
                            alone[lane] = 1
                    if last - first > MOST:
                        alone[lane] = 1
                        last = first
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
                    if key < (slots if is_slot else accounts):
                        if is_slot:
                            key += accounts
                        keys[filled] = key
                        filled += ONE
                        prefetch(last_level, key)
                levels[block + lane] = uint32(sort)
                key_bounds[lane + ONE] = filled

            for lane in range(size):
                level = least
                for each in range(key_bounds[lane], key_bounds[lane + ONE]):
                    level = max(level, uint64(last_level[keys[each]]))
                if alone[lane] != 0:
                    level = highest
                    least = highest + ONE
                level += ONE
                for each in range(key_bounds[lane], key_bounds[lane + ONE]):
                    last_level[keys[each]] = uint32(level)
                highest = max(highest, level)
                cell = min(level - base - ONE, LEVELS) * CLASSES + uint64(levels[block + lane])
                levels[block + lane] = uint32(cell)
                if cell < LEVELS * CLASSES:
                    counts[cell] += ONE
            block += size
        floor[0] = highest

        # The broad levels, each as long as it is broad; then everything else.
        broad = ZERO
        filled = ZERO
        while broad < LEVELS:
            width = ZERO
            for each in range(CLASSES):
                width += counts[broad * CLASSES + each]
            if width < LEAST_WIDTH:
                break
            for each in range(CLASSES):
                size = counts[broad * CLASSES + each]
                counts[broad * CLASSES + each] = filled
                filled += size
            ends[broad] = filled
            broad += ONE
        floor[1] = broad
        for turn in range(total):
            cell = uint64(levels[turn])
            if cell < broad * CLASSES:
                order[counts[cell]] = uint32(start[0] + turn)
                counts[cell] += ONE
            else:
                order[filled] = uint32(start[0] + turn)
                filled += ONE

    tables = [writes("uint32"), reads("uint64"), writes("uint64"), reads("uint64")]
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
