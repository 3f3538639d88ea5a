"""Batches that stress one thing each: few accounts that occur often, or receivers in other partitions.

A share is exact: 10 % of 1,000 transactions are 100 of them. Which ones is drawn, and equal seeds draw equally.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from supervm_core.columns import U32
from supervm_core.partitions import first_accounts, partition_of
from supervm_core.transactions import COLUMN_TYPES, Batch, Kind
from supervm_core.workloads import Stream, strict_nonces, zipf

SENDERS, RECEIVERS, CROSSING, CONFLICTS, PLACES, OTHERS = range(1, 7)
"""Second number of a seed, by what is drawn: streams that are apart from the batch's and from each other."""


def replaced(batch: Batch, **columns: Any) -> Batch:
    """The batch with other columns in place of its own; the rest is shared, not copied."""
    kept = {name: getattr(batch, name) for name in COLUMN_TYPES}
    return Batch(**kept | columns, programs=batch.programs, lists=batch.lists)


def skewed(batch: Batch, *, accounts: int, exponent: float, seed: int = 0) -> Batch:
    """The batch with senders and receivers by Zipf's law, drawn apart but with the same frequent accounts.

    Nonces are as the batch's are only where these are unordered: give a batch with other senders new ones.
    """
    sender, receiver = (
        zipf(len(batch), accounts=accounts, exponent=exponent, seed=(seed, column)) for column in (SENDERS, RECEIVERS)
    )
    return replaced(batch, sender=sender, receiver=receiver)


def in_order(batch: Batch) -> Batch:
    """The batch with the nonces that its senders must have, as on a new ledger."""
    return replaced(batch, nonce=strict_nonces(batch.sender))


def uniform_places(size: int, *, accounts: int, seed: int = 0) -> U32:
    """`size` accounts, each as likely as any other, whatever the batch of that seed draws."""
    return Stream((seed, PLACES)).below(accounts, size).astype(np.uint32)


def one_key(size: int, *, accounts: int, key: int = 7, seed: int = 0) -> U32:
    """99 of 100 the same account, the others uniform."""
    others = Stream((seed, OTHERS)).below(accounts, size)
    return np.where(Stream(seed).below(100, size) == 0, others, key % accounts).astype(np.uint32)


def crossing(batch: Batch, *, accounts: int, partitions: int, percent: float, seed: int = 0) -> Batch:
    """The batch with a share of its receivers in another partition than the sender's, all others in the sender's.

    A receiver that is in the right place stays. Any other moves to where it would be in the right partition: the same
    distance from its beginning. So receivers that occurred often still do.

    Parameters
    ----------
    batch : Batch
        Its senders and receivers must exist.
    accounts : int
        Accounts of the ledger, at least as many as partitions.
    partitions : int
        Equal ranges of account numbers, as in `execution.partitioned`. With one, nothing crosses.
    percent : float
        The share, 0 to 100. The number of transactions is rounded.
    seed : int
        Equal seeds give equal batches.
    """
    stream = Stream((seed, CROSSING))
    first = first_accounts(accounts, partitions)
    start = first.astype(np.int64)
    size = np.diff(start, append=accounts)
    own, partition = partition_of(batch.sender, first), partition_of(batch.receiver, first)
    place = batch.receiver - start[partition]
    wanted = own
    if partitions > 1:
        crosses = _chosen(len(batch), percent, stream)
        another = (own + 1 + stream.below(partitions - 1, len(batch)).astype(np.int64)) % partitions
        wanted = np.where(crosses, np.where(partition == own, another, partition), own)
    return replaced(batch, receiver=(start[wanted] + place % size[wanted]).astype(np.uint32))


def share_that_crosses(batch: Batch, *, accounts: int, partitions: int) -> float:
    """Percent of the transactions whose receiver belongs to another partition than the sender."""
    first = first_accounts(accounts, partitions)
    differs = partition_of(batch.sender, first) != partition_of(batch.receiver, first)
    return 100 * int(np.count_nonzero(differs)) / max(1, len(batch))


def conflicting(batch: Batch, *, percent: float, seed: int = 0) -> Batch:
    """The batch with a share of its swaps against one pool, that of the first two slots.

    Parameters
    ----------
    batch : Batch
        Its calls are swaps.
    percent : float
        The share of the calls, 0 to 100. The number of calls is rounded.
    seed : int
        Equal seeds give equal batches.
    """
    calls = np.flatnonzero(batch.kind == Kind.CALL)
    hot = calls[_chosen(calls.size, percent, Stream((seed, CONFLICTS)))]
    arguments = batch.arguments.copy()
    # A swap's first two arguments are the slots of its pool, an even one and the next, in either direction.
    arguments[hot, :2] %= np.uint64(2)
    return replaced(batch, arguments=arguments)


def _chosen(size: int, percent: float, stream: Stream) -> NDArray[np.bool]:
    """Mark exactly that share of `size` places."""
    chosen = np.zeros(size, np.bool)
    chosen[np.argsort(stream.below(2**32, size), kind="stable")[: round(size * percent / 100)]] = True
    return chosen
