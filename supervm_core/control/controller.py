"""The seam between the engine and those who steer it: a plan before each batch, an outcome after it.

    plan = controller.before(Plan.of(sizing, keys))
    ... execute the transactions whose lane is not Lane.LATER, in their order ...
    controller.after(Outcome(...))

Adaptive control turns the plan's sizing, congestion control and prediction its lanes. A lane is advice: `HOT` and
`ORDERED` ask for another way through the same batch, which gives the same result, and only `LATER` keeps a transaction
out of it. Keys name what a transaction may write: account numbers, then storage slots behind the last account.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from supervm_core.columns import U8, U64
from supervm_core.errors import SettingError


class Lane(IntEnum):
    """Which way a transaction takes."""

    FAST = 0
    """Whatever the static router finds fastest."""
    ORDERED = 1
    """The ordered path at once: an attempt on the fast path would probably be undone."""
    HOT = 2
    """The ordered path, among the transactions of hot keys: one worker takes them all, so that they meet nobody."""
    LATER = 3
    """Not in this batch."""


@dataclass(frozen=True, slots=True)
class Sizing:
    """How a batch is cut up."""

    partitions: int
    workers: int
    batch_size: int

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if getattr(self, field.name) < 1:
                raise SettingError(f"{field.name} is {getattr(self, field.name)}; a batch needs at least 1")


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What is about to be executed."""

    sizing: Sizing
    keys: U64
    """Keys by transaction, shape (n, k); one with fewer than k keys repeats its last."""
    lane: U8
    """A `Lane` by transaction."""
    pause: float = 0.0
    """Seconds for which nothing is admitted after this batch."""

    @classmethod
    def of(cls, sizing: Sizing, keys: ArrayLike) -> Plan:
        """Return a plan that sends every transaction the fast way."""
        rows = np.atleast_2d(np.asarray(keys, np.uint64))
        return cls(sizing, rows, np.full(len(rows), Lane.FAST, np.uint8))


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What became of a batch."""

    sizing: Sizing
    keys: U64
    """Keys by executed transaction, shape (n, k)."""
    conflicted: NDArray[np.bool_]
    """Which of them met another transaction of the batch on a key, and so had to wait for it or to be done again."""
    seconds: float
    """Wall time from the batch's beginning to its receipts."""
    cpu_seconds: float
    """CPU time of all workers meanwhile."""
    backlog: int
    """Transactions that were waiting when the batch ended."""

    @property
    def transactions(self) -> int:
        """How many were executed."""
        return self.conflicted.size

    @property
    def throughput(self) -> float:
        """Transactions a second; 0 for an empty batch."""
        return self.transactions / self.seconds if self.seconds > 0 else 0.0

    @property
    def conflict_rate(self) -> float:
        """Share of transactions that met another; 0 for an empty batch."""
        return float(self.conflicted.mean()) if self.transactions else 0.0

    @property
    def cpu_use(self) -> float:
        """CPU time over wall time of the workers; 1 where nothing was measured, which asks for no change."""
        available = self.seconds * self.sizing.workers
        return self.cpu_seconds / available if available > 0 else 1.0


def mentions(keys: U64) -> tuple[U64, NDArray[np.bool_]]:
    """Return each transaction's keys in rising order, and which are not a repetition of the one before."""
    rows = np.sort(keys, axis=1)
    fresh = np.ones(rows.shape, np.bool_)
    fresh[:, 1:] = rows[:, 1:] != rows[:, :-1]
    return rows, fresh


class Controller(Protocol):
    """Who steers batches."""

    def before(self, plan: Plan) -> Plan:
        """Return the plan with this controller's decisions in it."""
        ...

    def after(self, outcome: Outcome) -> None:
        """Learn from a batch that was executed."""
        ...


class Chain:
    """Controllers one after another, as one: each sees the decisions of those before it.

    Parameters
    ----------
    controllers : sequence of Controller
        In the order in which they decide; with none, every plan stays as it is.
    """

    def __init__(self, controllers: Sequence[Controller]) -> None:
        self.controllers = tuple(controllers)

    def before(self, plan: Plan) -> Plan:
        """Let each decide."""
        for controller in self.controllers:
            plan = controller.before(plan)
        return plan

    def after(self, outcome: Outcome) -> None:
        """Let each learn."""
        for controller in self.controllers:
            controller.after(outcome)
