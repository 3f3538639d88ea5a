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
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from supervm_core.columns import U32, U64
from supervm_core.execution import sequential
from supervm_core.execution.bookkeeping import NOWHERE, Notes, now
from supervm_core.execution.conflicts import HIGHEST_LEVEL, MOST_LEVELS, NARROW, sort_by_level
from supervm_core.execution.footprints import Footprints
from supervm_core.execution.lockstep import LANES, run_in_lockstep
from supervm_core.machine.crew import Crew, Task, shares
from supervm_core.state import State
from supervm_core.transactions import COLUMN_TYPES, Batch, Receipts

WINDOW = 65_536
"""Transactions whose levels are found together: many, because threads wait for each other once a level."""

SAMPLE = 2_048
"""Transactions that speak for a window: a thirtieth of it, and several times the width of a broad level."""

TASK = 4 * LANES
"""Fewer transactions of a level than this are not worth a thread."""

TASKS_PER_THREAD = 4
"""Tasks into which a level is cut for each thread, so that one who was held up leaves more of them to the others."""

execute_in_order = sequential.build(in_order=True)


class Step(NamedTuple):
    """Transactions to execute after those of the step before."""

    order: U32
    """Their places in the batch."""
    is_level: bool
    """Whether they touch nothing in common."""
    is_whole: bool = False
    """Whether they are a window as it stands in the batch."""


class OrderedPath:
    """Executes batches in order of dependency. One thread at a time may call it.

    Parameters
    ----------
    threads : int, optional
        Threads at most, the caller's among them; the cores that this process may use when left out.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._crew = Crew(threads)
        self._last_level = np.zeros(0, np.uint32)
        self._accounts_and_slots = np.zeros(2, np.uint64)
        self._floor = np.zeros(2, np.uint64)
        self._orders = np.empty((2, WINDOW), np.uint32)
        self._levels = np.empty(WINDOW, np.uint32)

    @property
    def threads(self) -> int:
        """Threads at most."""
        return self._crew.threads

    def execute(self, state: State, batch: Batch, notes: Notes | None = None) -> Receipts:
        """Apply a batch to a state, as `supervm_core.reference.execute` does.

        Raises
        ------
        StalledError
            If a thread has stopped getting on; the state is then half changed.
        """
        notes = notes or Notes.unwanted()
        if len(batch) < NARROW:
            return sequential.execute(state, batch, notes)
        notes.in_order = False
        receipts = Receipts(status=np.empty(len(batch), np.uint8), gas_used=np.empty(len(batch), np.uint64))
        self._make_room(state)
        columns = sequential.columns(batch)
        plans = self._plans(batch)
        following = next(plans, None)
        while following is not None:
            steps, following = following, None

            def look_ahead() -> None:
                nonlocal following
                following = next(plans, None)

            # While this window is executed, whoever is free finds the order of the next.
            tasks: list[Task] = [look_ahead]
            for place, step in enumerate(steps):
                tasks += self._tasks(step, state, columns, receipts, notes)
                notes.helped(self._crew.run(tasks))
                tasks = []
                if place or not step.is_level:
                    waited = step.order.copy()  # the window after the next is sorted into the same memory
                    notes.waited.append(waited)
                    if not step.is_level:
                        notes.rest.append(waited)
        return receipts

    def _plans(self, batch: Batch) -> Iterator[list[Step]]:
        """Window by window, its steps in the order in which they must be done."""
        footprints = Footprints.of(batch.programs)
        for number, start in enumerate(range(0, len(batch), WINDOW)):
            yield self._steps(batch, footprints, start, min(start + WINDOW, len(batch)), number % 2)

    def _steps(self, batch: Batch, footprints: Footprints, start: int, end: int, buffer: int) -> list[Step]:
        if end - start > SAMPLE and not self._sort(batch, footprints, start, start + SAMPLE, buffer)[1]:
            return [Step(np.arange(start, end, dtype=np.uint32), is_level=False, is_whole=True)]
        order, ends = self._sort(batch, footprints, start, end, buffer)
        steps = [Step(order[low:high], is_level=True) for low, high in zip([0, *ends], ends, strict=False)]
        rest = order[ends[-1] if ends else 0 :]
        return [*steps, Step(rest, is_level=False)] if rest.size else steps

    def _sort(self, batch: Batch, footprints: Footprints, start: int, end: int, buffer: int) -> tuple[U32, list[int]]:
        """The window in order of dependency, and where its broad levels end. The order lies in one of two buffers."""
        if int(self._floor[0]) + (end - start) >= HIGHEST_LEVEL:
            self._clear()
        order = self._orders[buffer, : end - start]
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

    def _tasks(
        self, step: Step, state: State, columns: tuple[NDArray[Any], ...], receipts: Receipts, notes: Notes
    ) -> list[Task]:
        if step.is_whole:
            return [partial(_execute_window, state, columns, receipts, step.order, notes)]
        if not step.is_level:
            return [partial(_execute_in_order, state, columns, receipts, step.order, notes)]
        parts = self.threads * TASKS_PER_THREAD if self.threads > 1 else 1
        ranges = shares(step.order.size, parts, least=TASK)
        return [
            partial(_execute_level, state, columns, receipts, step.order[start:end], notes) for start, end in ranges
        ]

    def _make_room(self, state: State) -> None:
        """Have a place in the table for each account and slot."""
        if self._accounts_and_slots.tolist() != [state.accounts, state.slots]:
            self._last_level = np.zeros(state.accounts + state.slots, np.uint32)
            self._accounts_and_slots[:] = state.accounts, state.slots
            self._floor[:] = 0

    def _clear(self) -> None:
        self._last_level[:] = 0
        self._floor[:] = 0


def _execute_level(
    state: State, columns: tuple[NDArray[Any], ...], receipts: Receipts, order: U32, notes: Notes
) -> None:
    began = now()
    left = np.empty_like(order)
    left_count = np.zeros(1, np.uint64)
    run_in_lockstep(
        state.balances, state.nonces, state.storage, order, *columns, receipts.status, receipts.gas_used,
        left, left_count,
    )  # fmt: skip
    if left_count[0]:
        _run(state, columns, receipts, left[: int(left_count[0])], NOWHERE)
    notes.stamp(began, order.size)


def _execute_in_order(
    state: State, columns: tuple[NDArray[Any], ...], receipts: Receipts, order: U32, notes: Notes
) -> None:
    _run(state, columns, receipts, order, notes.room(order.size))


def _execute_window(
    state: State, columns: tuple[NDArray[Any], ...], receipts: Receipts, order: U32, notes: Notes
) -> None:
    """Execute neighbours by the sequential kernel: looking up each place would cost a twentieth."""
    window = slice(int(order[0]), int(order[-1]) + 1)
    rows, tables = columns[: len(COLUMN_TYPES)], columns[len(COLUMN_TYPES) :]
    sequential.kernel(
        state.balances, state.nonces, state.storage, sequential.NO_ORDER, *(row[window] for row in rows), *tables,
        receipts.status[window], receipts.gas_used[window], notes.room(order.size),
    )  # fmt: skip


def _run(state: State, columns: tuple[NDArray[Any], ...], receipts: Receipts, order: U32, stamps: U64) -> None:
    execute_in_order(
        state.balances, state.nonces, state.storage, order, *columns, receipts.status, receipts.gas_used, stamps
    )
