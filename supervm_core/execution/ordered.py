"""The ordered path: transactions that touch something in common keep their order, the others go side by side.

A batch is taken in windows. Of each window `conflicts` finds the broad levels, sets of transactions that touch nothing
in common; a level is shared out among threads, and each of them runs its calls in lockstep (`lockstep`) and whatever
that leaves one by one (`execute_in_order`). The rest of the window, which is not broad enough, is executed in
batch order by one thread.

Why it is exact. The order in which things happen differs from the batch's only between transactions that touch nothing
in common; each of the three kernels says why it keeps to that. Levels end before the next begins.

Where it pays. An interpreted call costs far more than to find out whom it conflicts with, a transfer does not: `router`
sends only batches with enough calls here. A window whose first part shows that nearly everything in it waits for
something else is executed sequentially.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from supervm_core.columns import U32
from supervm_core.execution import sequential, workers
from supervm_core.execution.conflicts import HIGHEST_LEVEL, MOST_LEVELS, NARROW, sort_by_level
from supervm_core.execution.footprints import Footprints
from supervm_core.execution.lockstep import LANES, run_in_lockstep
from supervm_core.state import State
from supervm_core.transactions import Batch, Receipts

WINDOW = 65_536
"""Transactions whose levels are found together: many, because threads wait for each other once a level."""

SAMPLE = 2_048
"""Transactions that speak for a window: a thirtieth of it, and several times the width of a broad level."""

TASK = 4 * LANES
"""Fewer transactions of a level than this are not worth a thread."""

execute_in_order = sequential.build(in_order=True)


class OrderedPath:
    """Executes batches in order of dependency. One thread at a time may call it.

    Parameters
    ----------
    threads : int, optional
        Threads at most, the caller's among them; the cores that this process may use when left out.
    """

    def __init__(self, threads: int | None = None) -> None:
        self.threads = workers.cores() if threads is None else threads
        self._last_level = np.zeros(0, np.uint32)
        self._accounts_and_slots = np.zeros(2, np.uint64)
        self._floor = np.zeros(2, np.uint64)
        self._order, self._levels = np.empty((2, WINDOW), np.uint32)

    def execute(self, state: State, batch: Batch) -> Receipts:
        """Apply a batch to a state, as `supervm_core.reference.execute` does."""
        if len(batch) < NARROW:
            return sequential.execute(state, batch)
        receipts = Receipts(status=np.empty(len(batch), np.uint8), gas_used=np.empty(len(batch), np.uint64))
        self._make_room(state)
        columns = sequential.columns(batch)
        footprints = Footprints.of(batch.programs)
        for start in range(0, len(batch), WINDOW):
            end = min(start + WINDOW, len(batch))
            for order, is_level in self._steps(batch, footprints, start, end):
                self._execute_step(state, columns, receipts, order, is_level=is_level)
        return receipts

    def _steps(self, batch: Batch, footprints: Footprints, start: int, end: int) -> Iterator[tuple[U32, bool]]:
        """Places of the window to execute one after the other, and whether a step's places are a level."""
        if end - start > SAMPLE and not self._sort(batch, footprints, start, start + SAMPLE)[1]:
            yield np.arange(start, end, dtype=np.uint32), False
            return
        order, ends = self._sort(batch, footprints, start, end)
        beginning = 0
        for level_end in ends:
            yield order[beginning:level_end], True
            beginning = level_end
        if beginning < order.size:
            yield order[beginning:], False

    def _sort(self, batch: Batch, footprints: Footprints, start: int, end: int) -> tuple[U32, list[int]]:
        """The window in order of dependency, and where its broad levels end."""
        if int(self._floor[0]) + (end - start) >= HIGHEST_LEVEL:
            self._clear()
        order = self._order[: end - start]
        ends = np.empty(MOST_LEVELS, np.uint64)
        lists = batch.lists
        sort_by_level(
            self._last_level, self._accounts_and_slots, self._floor, np.array([start], np.uint64),
            batch.kind, batch.sender, batch.receiver, batch.program, batch.arguments, batch.access,
            lists.bounds, lists.places,
            footprints.known, footprints.bounds, footprints.is_slot, footprints.source, footprints.value,
            self._levels[: end - start], order, ends,
        )  # fmt: skip
        return order, ends[: int(self._floor[1])].tolist()

    def _execute_step(
        self, state: State, columns: tuple[NDArray[Any], ...], receipts: Receipts, order: U32, *, is_level: bool
    ) -> None:
        if is_level:
            shares = workers.shares(order.size, self.threads, least=TASK)
            workers.run([partial(_execute_level, state, columns, receipts, order[start:end]) for start, end in shares])
        else:
            _execute_in_order(state, columns, receipts, order)

    def _make_room(self, state: State) -> None:
        """Have a place in the table for each account and slot."""
        if self._accounts_and_slots.tolist() != [state.accounts, state.slots]:
            self._last_level = np.zeros(state.accounts + state.slots, np.uint32)
            self._accounts_and_slots[:] = state.accounts, state.slots
            self._floor[:] = 0

    def _clear(self) -> None:
        self._last_level[:] = 0
        self._floor[:] = 0


def _execute_level(state: State, columns: tuple[NDArray[Any], ...], receipts: Receipts, order: U32) -> None:
    left = np.empty_like(order)
    left_count = np.zeros(1, np.uint64)
    run_in_lockstep(
        state.balances, state.nonces, state.storage, order, *columns, receipts.status, receipts.gas_used,
        left, left_count,
    )  # fmt: skip
    _execute_in_order(state, columns, receipts, left[: int(left_count[0])])


def _execute_in_order(state: State, columns: tuple[NDArray[Any], ...], receipts: Receipts, order: U32) -> None:
    execute_in_order(state.balances, state.nonces, state.storage, order, *columns, receipts.status, receipts.gas_used)
