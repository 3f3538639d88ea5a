"""Admission: where transactions wait for their batch, and who is refused.

    admission.offer(tickets, senders, keys)
    admitted = admission.admit(sizing)
    ... execute the admitted ones in the order of their tickets, as one batch, cut up as admitted.sizing says ...
    admission.after(outcome)
    sizing = admitted.sizing

A ticket is the caller's number for a transaction; tickets rise in the order of offering. Whoever a controller puts off
waits and comes again, later ones of the same sender wait behind it: a sender's transactions enter batches in the order
in which they were offered, so that nonces which were in order stay so. (If one is refused, the next of its sender will
say so itself, in its receipt.)

Every ticket is admitted once or refused once. What was refused, when the room was full or after the last retry, is
returned with the reason and counted: nothing disappears. Clock and chance are parameters, so that all of this can be
tried without waiting.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from enum import Enum
from random import Random
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from supervm_core.columns import U8, U64
from supervm_core.control.congestion import Backoff
from supervm_core.control.controller import Controller, Lane, Outcome, Plan, Sizing
from supervm_core.errors import BatchError

Tickets = NDArray[np.int64]

ROOM = 100_000
"""Transactions that wait at most. Each round looks at all of them: some milliseconds when there are so many."""


class Reason(Enum):
    """Why a transaction was refused."""

    FULL = "too many transactions wait"
    CONGESTED = "its keys were still congested after the last retry"


class Refused(NamedTuple):
    """Transactions that never enter a batch."""

    tickets: Tickets
    reason: Reason


class Admitted(NamedTuple):
    """What may be executed now."""

    sizing: Sizing
    """How to cut it up: as the controller decided."""
    tickets: Tickets
    """In order."""
    keys: U64
    """Keys by transaction, shape (n, k)."""
    lane: U8
    """A `Lane` by transaction, never `Lane.LATER`."""
    waited: NDArray[np.float64]
    """Seconds since each was offered."""
    refused: Refused
    """Who gave up waiting in this round."""
    put_off: Tickets
    """Who has to try again later; those behind them, who wait without an attempt of their own, are not among them."""


class Admission:
    """The room where transactions wait.

    Parameters
    ----------
    controller : Controller
        Who decides their lanes; a `Chain` for several.
    backoff : Backoff
        How long they wait when put off.
    room : int
        How many may wait.
    clock : callable
        Seconds that never go back.
    chance : random.Random
        Where delays come from.

    Attributes
    ----------
    refusals : Counter of Reason
        How many were refused so far.
    retries : int
        How often a transaction was put off so far.
    """

    def __init__(
        self,
        controller: Controller,
        backoff: Backoff,
        *,
        room: int = ROOM,
        clock: Callable[[], float] = time.monotonic,
        chance: Random | None = None,
    ) -> None:
        self.controller = controller
        self.backoff = backoff
        self.room = room
        self.refusals: Counter[Reason] = Counter()
        self.retries = 0
        self._clock = clock
        self._chance = chance or Random()
        self._resume = -np.inf
        self._last_ticket = -1
        self._waiting = _Waiting.none()

    def __len__(self) -> int:
        return self._waiting.ticket.size

    @property
    def senders(self) -> U64:
        """Whose transactions wait, in the order of their tickets."""
        return self._waiting.sender

    @property
    def resumes(self) -> float:
        """The moment on the clock before which nothing is admitted."""
        return float(self._resume)

    @property
    def next_due(self) -> float | None:
        """The moment on the clock at which it pays to ask again; None while nobody waits."""
        return max(self.resumes, float(self._waiting.due.min())) if len(self) else None

    def offer(self, tickets: ArrayLike, senders: ArrayLike, keys: ArrayLike) -> Refused:
        """Let transactions wait, as many as there is room for; the others, the last ones, are refused.

        Parameters
        ----------
        tickets : array_like of int, shape (n,)
            Numbers that rise, above all offered before.
        senders : array_like of int, shape (n,)
            Whose they are.
        keys : array_like of int, shape (n, k)
            What they may write.

        Raises
        ------
        BatchError
            If the columns differ in length or tickets do not rise; nothing was offered.
        """
        # Copies: the caller may use its arrays again while transactions wait.
        ticket = np.array(tickets, np.int64).ravel()
        sender = np.array(senders, np.uint64).ravel()
        rows = np.array(keys, np.uint64)
        if rows.ndim != 2 or not ticket.size == sender.size == len(rows):
            raise BatchError(
                f"{ticket.size} tickets, {sender.size} senders and keys of shape {rows.shape}; "
                "a transaction has one ticket, one sender and a row of keys"
            )
        if len(self) and ticket.size and rows.shape[1] != self._waiting.keys.shape[1]:
            raise BatchError(
                f"{rows.shape[1]} keys a transaction, but those who wait have {self._waiting.keys.shape[1]}; "
                "repeat the last key of shorter ones"
            )
        if not (np.diff(ticket, prepend=self._last_ticket) > 0).all():
            raise BatchError(f"tickets must rise, above {self._last_ticket}, the last one offered; number them anew")
        if not ticket.size:
            return Refused(ticket, Reason.FULL)
        self._last_ticket = int(ticket[-1])
        fits = max(self.room - len(self), 0)
        now = np.full(ticket.size, self._clock())
        offered = _Waiting(ticket, sender, rows, np.zeros(ticket.size, np.int64), now, now.copy())
        self._waiting = self._waiting.joined(offered.where(slice(fits)))
        return self._refuse(ticket[fits:], Reason.FULL)

    def admit(self, sizing: Sizing) -> Admitted:
        """Take the transactions of the next batch.

        Returns
        -------
        Admitted
            At most `sizing.batch_size`; none during a pause.
        """
        now = self._clock()
        waiting = self._waiting
        ready = (waiting.due <= now) & (now >= self._resume)
        ready &= ~stands_behind(waiting.sender, ~ready)
        places = np.flatnonzero(ready)[: sizing.batch_size]
        chosen = waiting.where(places)
        plan = Plan.of(sizing, chosen.keys)
        if places.size:
            plan = self.controller.before(plan)
            self._resume = now + plan.pause
        # Where the controller wants a smaller batch, the last ones stay as if they had not been looked at.
        places, chosen, lane = (
            places[: plan.sizing.batch_size],
            chosen.where(slice(plan.sizing.batch_size)),
            plan.lane[: plan.sizing.batch_size],
        )
        put_off = lane == Lane.LATER
        exhausted = put_off & (chosen.attempts >= self.backoff.max_retries)
        # Who stands behind one that comes again waits with it, and that is no attempt of its own. (Who has used up its
        # attempts has nobody in front of it: it would not have been put off before.)
        behind = stands_behind(chosen.sender, put_off & ~exhausted)
        again, taken = put_off & ~exhausted & ~behind, ~put_off & ~behind
        waiting.due[places[again]] = now + self.backoff.delays(chosen.attempts[again], self._chance)
        waiting.attempts[places[again]] += 1
        self.retries += int(np.count_nonzero(again))
        leave = places[taken | exhausted]
        if leave.size and leave[-1] + 1 == leave.size:  # the first ones: no need to copy the others
            self._waiting = waiting.where(slice(leave.size, None))
        elif leave.size:
            stays = np.ones(waiting.ticket.size, np.bool_)
            stays[leave] = False
            self._waiting = waiting.where(stays)
        return Admitted(
            plan.sizing,
            chosen.ticket[taken],
            chosen.keys[taken],
            lane[taken],
            now - chosen.since[taken],
            self._refuse(chosen.ticket[exhausted], Reason.CONGESTED),
            chosen.ticket[again],
        )

    def after(self, outcome: Outcome) -> None:
        """Let the controller learn from the batch."""
        self.controller.after(outcome)

    def _refuse(self, tickets: Tickets, reason: Reason) -> Refused:
        self.refusals[reason] += tickets.size
        return Refused(tickets, reason)


class _Waiting(NamedTuple):
    """Those who wait, in columns, in the order of their tickets."""

    ticket: Tickets
    sender: U64
    keys: U64
    attempts: NDArray[np.int64]
    due: NDArray[np.float64]
    since: NDArray[np.float64]

    @classmethod
    def none(cls) -> _Waiting:
        whole, moment = np.zeros(0, np.int64), np.zeros(0)
        return cls(whole, np.zeros(0, np.uint64), np.zeros((0, 1), np.uint64), whole.copy(), moment, moment.copy())

    def where(self, places: NDArray[np.int64] | NDArray[np.bool_] | slice) -> _Waiting:
        return _Waiting._make(column[places] for column in self)

    def joined(self, later: _Waiting) -> _Waiting:
        if not self.ticket.size:
            return later
        return _Waiting._make(np.concatenate(pair) for pair in zip(self, later, strict=True))


def stands_behind(senders: U64, marked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return who stands somewhere behind a marked transaction of the same sender."""
    if not marked.any():
        return np.zeros(senders.size, np.bool_)
    _, person = np.unique(senders, return_inverse=True)
    first = np.full(senders.size, senders.size)
    np.minimum.at(first, person[marked], np.flatnonzero(marked))
    behind: NDArray[np.bool_] = np.arange(senders.size) > first[person]
    return behind
