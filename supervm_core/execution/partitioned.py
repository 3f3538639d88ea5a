"""The partitioned fast path: transfers, mints and burns by the owner of the sender's account, side by side.

Accounts are divided into P partitions, equal ranges of account numbers. Partitions are a matter of bookkeeping, threads
are not: P partitions lie on at most as many shards as there are cores, each shard a run of neighbouring partitions. The
shards execute what their accounts send, then fetch what other shards have sent to theirs; `owned` says why the outcome
is that of the batch's order. Where it cannot tell, everything is taken back and the batch goes the ordered way.

Two shards do nearly twice the work of the sequential kernel between them: each looks through the whole batch for what
is its own, and half of all credits take a way through an outbox. On two cores that nobody else uses they gain a tenth,
on two that somebody does they lose a third. So a process that may use fewer than three executes in order, unless it is
told how many threads to use.

Only batches without calls come here: `router` sees to that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from supervm_core.columns import U64
from supervm_core.execution import sequential
from supervm_core.execution.bookkeeping import Notes, now
from supervm_core.execution.owned import BEYOND_DOUBT, receive, run_owned, take_back
from supervm_core.machine import crew
from supervm_core.machine.crew import Crew, Task
from supervm_core.machine.placement import Homes
from supervm_core.partitions import first_accounts
from supervm_core.state import State
from supervm_core.transactions import Batch, Receipts

CORES_THAT_PAY = 3
"""With fewer cores than this, shards gain less over the sequential kernel than a busy neighbour costs them."""

SHARD = 4_096
"""Transactions below which a further shard costs more than it does: about the time in which a thread wakes up."""

NO_SENDER = 2**32
"""Above every account number that a batch can name; the last shard ends here, and answers for unknown senders."""


@dataclass(frozen=True)
class Outcome:
    """How the last batch went."""

    shards: int
    """How many shards worked on it; 1 means that it was executed in order."""
    crossing: int
    """Credits that went from one shard to another."""
    uncertain: bool
    """Whether it had to be taken back and executed in order."""


class PartitionedPath:
    """Executes batches without calls, partition by partition. One thread at a time may call it.

    Parameters
    ----------
    partitions : int
        How many equal ranges the accounts are divided into, at least 1.
    threads : int, optional
        Shards at most. When left out, the cores that this process may use, or one if those are fewer than 3.
    homes : Homes, optional
        Where each shard lives; anywhere when left out.

    Attributes
    ----------
    outcome : Outcome or None
        How the last batch went.
    """

    def __init__(self, partitions: int, threads: int | None = None, homes: Homes | None = None) -> None:
        self.partitions = partitions
        cores = crew.cores()
        self.threads = threads or (cores if cores >= CORES_THAT_PAY else 1)
        self.homes = homes
        self._crew = Crew(self.threads)
        self._outboxes = np.empty((0, 0), np.uint32)
        self.outcome: Outcome | None = None

    def execute(self, state: State, batch: Batch, notes: Notes | None = None) -> Receipts:
        """Apply a batch without calls to a state, as `supervm_core.reference.execute` does.

        Raises
        ------
        StalledError
            If a thread has stopped getting on; the state is then half changed.
        """
        notes = notes or Notes.unwanted()
        began = now()
        shards = min(self.partitions, self.threads, max(1, len(batch) // SHARD))
        arriving = _amounts(batch.amount) if shards > 1 else 0
        if shards == 1 or arriving >= BEYOND_DOUBT:
            self.outcome = Outcome(shards=1, crossing=0, uncertain=shards > 1)
            return sequential.execute(state, batch, notes)
        receipts = Receipts(status=np.zeros(len(batch), np.uint8), gas_used=np.zeros(len(batch), np.uint64))
        shares = self._shares(state.accounts, shards, arriving)
        if self.homes is not None:
            ends = [*shares[1:, 0].tolist(), state.accounts]
            self.homes.settle([state.balances, state.nonces], list(zip(shares[:, 0].tolist(), ends, strict=True)))
        progress = np.zeros((shards, 3), np.uint64)
        outboxes = self._room(shards, len(batch))
        columns = (batch.kind, batch.sender, batch.receiver, batch.amount, batch.nonce)

        def execute_own(shard: int) -> None:
            run_owned(
                state.balances, state.nonces, *columns, shares[shard], receipts.status, outboxes[shard], progress[shard]
            )

        def fetch(shard: int) -> None:
            for sender, outbox in enumerate(sent):
                if sender != shard:
                    receive(state.balances, batch.receiver, batch.amount, shares[shard], outbox, progress[shard])

        self._side_by_side(execute_own, shards, notes)
        certain = bool((progress[:, 0] == len(batch)).all())
        if certain:
            sent = [outbox[:number] for outbox, number in zip(outboxes, progress[:, 1].tolist(), strict=True)]
            self._side_by_side(fetch, shards, notes)
        delivered, certain = certain, certain and not progress[:, 2].any()
        self.outcome = Outcome(shards, int(progress[:, 1].sum()), uncertain=not certain)
        if certain:
            notes.in_order = False
            notes.stamp(began, len(batch))
            return receipts
        for shard in range(shards):
            take_back(
                state.balances, state.nonces, *columns, shares[shard], receipts.status, progress[shard],
                np.array([delivered], np.uint64),
            )  # fmt: skip
        notes.waited += [np.array([stopped], np.uint32) for stopped in progress[:, 0].tolist() if stopped < len(batch)]
        return sequential.execute(state, batch, notes)

    def _side_by_side(self, work: Callable[[int], None], shards: int, notes: Notes) -> None:
        """Have the work of each shard done, in its home if it has one."""
        tasks: list[Task] = [partial(work, shard) for shard in range(shards)]
        if self.homes is not None:
            tasks = [self.homes.at_home(*each) for each in enumerate(tasks)]
        notes.helped(self._crew.run(tasks))

    def _room(self, shards: int, size: int) -> NDArray[np.uint32]:
        """An outbox for each shard; memory that was used before costs no page faults."""
        if shards > self._outboxes.shape[0] or size > self._outboxes.shape[1]:
            self._outboxes = np.empty((shards, size), np.uint32)
        return self._outboxes

    def _shares(self, accounts: int, shards: int, arriving: int) -> U64:
        """By shard: its first account, the one after its last, and what may arrive from elsewhere."""
        first = first_accounts(accounts, self.partitions)[
            [shard * self.partitions // shards for shard in range(shards)]
        ]
        return np.stack([first, np.append(first[1:], np.uint64(NO_SENDER)), np.full_like(first, arriving)], axis=1)


def _amounts(amount: U64) -> int:
    """The sum of all amounts below 2**63; a larger one never moves while all is certain."""
    largest = int(amount.max(initial=0))
    if largest >= BEYOND_DOUBT:
        amount = amount[amount < BEYOND_DOUBT]
    if largest * amount.size < 2**64:
        return int(amount.sum())
    # In two halves, because the sum itself may not fit.
    upper = int((amount >> np.uint64(32)).sum())
    return (upper << 32) + int((amount & np.uint64(2**32 - 1)).sum())
