"""The intake: where transactions arrive, and batches are made of them.

    intake = Intake(vm)
    tickets, refused = intake.offer(batch)
    for step in intake.drain():
        for executed in step.executed:
            executed.tickets, executed.receipts
        step.refused

An executor is given batches and has no say in them; an intake decides which transactions make a batch, and when. So
this is where the controllers act whose features are on in the ledger's settings: `adaptive-partition` chooses how large
a batch is and how it is cut up, `congestion-control` who waits and who is refused, `experimental-predictor` who will
probably be in others' way. What they decide changes who is executed when and with whom, never what a batch does: every
batch that was made has the receipts and the state that the specification gives it.

Transactions that are expected to meet others (lanes `HOT` and `ORDERED`) make a batch of their own, executed in order
behind that of all others. The order between them is nobody's claim: they waited in the same room. Only the
transactions of one sender keep theirs, so whoever stands behind an expected one of the same sender goes with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from supervm_core import features as flags
from supervm_core.control.adaptive import Adaptive, Limits
from supervm_core.control.admission import ROOM, Admission, Admitted, Refused, Tickets, stands_behind
from supervm_core.control.congestion import Backoff, Congestion, retries_from_environment
from supervm_core.control.controller import Chain, Controller, Lane, Outcome, Sizing
from supervm_core.control.prediction import Prediction
from supervm_core.engine import SuperVM
from supervm_core.errors import BatchError
from supervm_core.execution.footprints import keys
from supervm_core.execution.meetings import Meetings
from supervm_core.machine.crew import cores
from supervm_core.telemetry.histogram import Latencies
from supervm_core.transactions import COLUMN_TYPES, Batch, Receipts

BATCH_SIZE = 8_192
"""Transactions of a batch at most, unless something else is asked for or adaptive control finds better: twice as many
as those with which threads begin to pay."""

KEYS = 4
"""Places by transaction that controllers look at: sender, receiver and two of a call's footprint."""


class Executed(NamedTuple):
    """A batch that was made and executed."""

    tickets: Tickets
    """Which transactions it had, in its order."""
    batch: Batch
    receipts: Receipts


class Step(NamedTuple):
    """What happened in one step; nothing at all while everybody has to wait."""

    executed: tuple[Executed, ...]
    """In the order of execution: those who are expected to meet nobody, then those who are in others' way."""
    refused: Refused
    """Who was put off too often: they never were in a batch and have no receipt."""


class Intake:
    """Takes transactions in, makes batches of them, and has these executed.

    Parameters
    ----------
    vm : SuperVM
        The ledger. Its features say which controllers act; nobody else may execute on it meanwhile.
    batch_size : int
        Transactions of a batch at most, to begin with.
    room : int
        How many transactions may wait.
    limits : Limits, optional
        How far adaptive control goes; by default as many workers as there are cores.
    chance : random.Random, optional
        Where the delays of congestion control come from.
    clock : callable
        Nanoseconds that never go back.
    sleep : callable
        Waits for seconds.

    Raises
    ------
    SettingError
        If the batch size is not at least 1, or `FASTPATH_MAX_RETRIES` is out of its range.

    Attributes
    ----------
    latencies : Latencies or None
        From being offered to being executed; None without the feature `latency-quantiles`.
    sizing : Sizing
        How the next batch is cut up.
    adaptive : Adaptive or None
    congestion : Congestion or None
    prediction : Prediction or None
        The controllers that act.
    """

    def __init__(
        self,
        vm: SuperVM,
        *,
        batch_size: int = BATCH_SIZE,
        room: int = ROOM,
        limits: Limits | None = None,
        chance: Random | None = None,
        clock: Callable[[], int] = time.perf_counter_ns,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.vm = vm
        self.sizing = Sizing(vm.partitions, vm.threads or cores(), batch_size)
        on = vm.features
        self.adaptive = Adaptive(self.sizing, limits) if flags.ADAPTIVE_PARTITION in on else None
        self.congestion = Congestion() if flags.CONGESTION_CONTROL in on else None
        places = max(vm.state.accounts + vm.state.slots, 1)
        self.prediction = Prediction(places) if flags.EXPERIMENTAL_PREDICTOR in on else None
        self.latencies = Latencies() if flags.LATENCY_QUANTILES in on else None
        controllers: list[Controller] = [
            each for each in (self.adaptive, self.congestion, self.prediction) if each is not None
        ]
        self._meetings = Meetings(places) if controllers else None
        self._clock = clock
        self._sleep = sleep
        self._admission = Admission(
            Chain(controllers),
            Backoff(max_retries=retries_from_environment()),
            room=room,
            clock=lambda: clock() / 1e9,
            chance=chance,
        )
        self._offered: list[_Offered] = []
        self._next_ticket = 0

    def __len__(self) -> int:
        """How many transactions wait."""
        return len(self._admission)

    @property
    def retries(self) -> int:
        """How often a transaction was put off so far."""
        return self._admission.retries

    @property
    def refusals(self) -> dict[str, int]:
        """How many transactions were refused so far, by the reason in words."""
        return {reason.value: number for reason, number in self._admission.refusals.items()}

    @property
    def idle_for(self) -> float:
        """Seconds until the next step can do something: 0 if it can now; infinite while nobody waits."""
        due = self._admission.next_due
        return float("inf") if due is None else max(due - self._clock() / 1e9, 0.0)

    def offer(self, batch: Batch, due: ArrayLike | None = None) -> tuple[Tickets, Refused]:
        """Let transactions wait for a batch.

        Parameters
        ----------
        batch : Batch
            The transactions, in the order in which their senders sent them.
        due : array_like of int, shape (n,) or (), optional
            When they were meant to arrive, in nanoseconds of the clock; latencies count from then. Now when left out.

        Returns
        -------
        tickets : ndarray of int64, shape (n,)
            Numbers of the transactions, counted through from 0.
        refused : Refused
            Those for which there was no room.

        Raises
        ------
        BatchError
            If the times are not as many as the transactions, or lie in the future; nothing was offered.
        """
        now = self._clock()
        times = _times(now if due is None else due, len(batch), now)
        tickets = np.arange(self._next_ticket, self._next_ticket + len(batch))
        wanted = keys(batch, self.vm.state.accounts, KEYS)
        refused = self._admission.offer(tickets, batch.sender, wanted)
        self._next_ticket += len(batch)
        if len(batch):
            self._offered.append(_Offered(int(tickets[0]), batch, times))
        self._book(waited=_NOBODY, put_off=_NOBODY, refused=refused.tickets)
        self._forget(refused.tickets)
        return tickets, refused

    def step(self) -> Step:
        """Make a batch of those who may be executed now, and execute it.

        Raises
        ------
        StalledError
            As `SuperVM.execute` does: the ledger is half changed, and who was admitted in this step has no receipt.
        """
        admitted = self._admission.admit(self.sizing)
        if admitted.sizing != self.sizing:
            self.sizing = admitted.sizing
            self.vm.configure(partitions=self.sizing.partitions, threads=self.sizing.workers)
        began, began_cpu = self._clock(), time.process_time()
        executed = tuple(self._execute(tickets, in_order) for tickets, in_order in self._lanes(admitted))
        if executed and self._meetings is not None:
            seconds, cpu = (self._clock() - began) / 1e9, time.process_time() - began_cpu
            met = self._meetings.of(admitted.keys)
            self._admission.after(Outcome(self.sizing, admitted.keys, met, seconds, cpu, backlog=len(self)))
        self._book(waited=admitted.tickets, put_off=admitted.put_off, refused=admitted.refused.tickets, now=began)
        self._forget(np.concatenate([admitted.tickets, admitted.refused.tickets]))
        return Step(executed, admitted.refused)

    def drain(self) -> Iterator[Step]:
        """Step until nobody waits any more, and sleep while everybody has to."""
        while len(self):
            step = self.step()
            if step.executed or step.refused.tickets.size:
                yield step
            elif len(self):
                self._sleep(self.idle_for)

    def _lanes(self, admitted: Admitted) -> Iterator[tuple[Tickets, bool]]:
        """The batches to make of those who are admitted, and whether each is to be executed in order."""
        tickets = admitted.tickets
        apart = admitted.lane != Lane.FAST
        if apart.any():
            apart |= stands_behind(self._column("sender", tickets), apart)
            if not apart.all():
                yield tickets[~apart], False
            yield tickets[apart], True
        elif tickets.size:
            yield tickets, False

    def _execute(self, tickets: Tickets, in_order: bool) -> Executed:
        parts = list(self._find(tickets))
        batch = Batch.joined([offered.batch[rows] for offered, rows in parts])
        began = self._clock()
        receipts = self.vm.execute(batch, in_order=in_order)
        if self.latencies is not None:
            due = np.concatenate([offered.due[rows] for offered, rows in parts])
            self.latencies.record(due, began, self._clock())
        return Executed(tickets, batch, receipts)

    def _find(self, tickets: Tickets) -> Iterator[tuple[_Offered, Tickets]]:
        """Where transactions lie, given their rising tickets: batches that were offered, and rows of them."""
        first = 0
        for offered in self._offered:
            last = int(np.searchsorted(tickets, offered.first + len(offered.batch)))
            if last > first:
                yield offered, tickets[first:last] - offered.first
            first = last

    def _column(self, name: str, tickets: Tickets) -> NDArray[Any]:
        """One column of transactions."""
        parts = [getattr(offered.batch, name)[rows] for offered, rows in self._find(tickets)]
        return np.concatenate(parts) if parts else np.zeros(0, COLUMN_TYPES[name])

    def _forget(self, tickets: Tickets) -> None:
        """Let go of batches that were offered, when nobody of them waits any more."""
        for offered, rows in self._find(np.sort(tickets)):
            offered.left -= rows.size
        self._offered = [offered for offered in self._offered if offered.left]

    def _book(self, *, waited: Tickets, put_off: Tickets, refused: Tickets, now: int = 0) -> None:
        """Count what admission did, by the partitions of the senders."""
        counters, home = self.vm.counters, self.vm.partition_of
        rows = len(counters.partitions)

        def count(senders: NDArray[np.unsignedinteger[Any]], weights: NDArray[Any] | None = None) -> NDArray[Any]:
            return np.bincount(home(senders), weights, minlength=rows).astype(np.uint64)

        times = [now - offered.due[each] for offered, each in self._find(waited)]
        counters.queued(
            length=count(self._admission.senders),
            waited_ns=count(self._column("sender", waited), np.concatenate([*times, np.zeros(0, np.int64)])),
            retries=count(self._column("sender", put_off)),
            dropped=count(self._column("sender", np.sort(refused))),
        )


@dataclass(slots=True)
class _Offered:
    """A batch that was offered, some of which still wait."""

    first: int
    """Ticket of its first transaction."""
    batch: Batch
    due: NDArray[np.int64]
    left: int = 0
    """How many still wait."""

    def __post_init__(self) -> None:
        self.left = len(self.batch)


_NOBODY = np.zeros(0, np.int64)


def _times(due: ArrayLike, number: int, now: int) -> NDArray[np.int64]:
    """The times at which transactions were due, one for each."""
    given = np.asarray(due)
    if given.dtype.kind not in "iu" or given.shape not in ((), (number,)):
        raise BatchError(
            f"{number} transactions were due at times of shape {given.shape} and type {given.dtype}; "
            f"whole nanoseconds are wanted, one or {number} of them"
        )
    if given.size and int(given.max()) > now:
        raise BatchError(f"a transaction is due at {given.max()} and it is {now} now; offer it when it is")
    return np.array(np.broadcast_to(given, number), np.int64)
