"""One shard's share of a batch of transfers, mints and burns, without a lock: the kernels of the partitioned path.

A shard owns a range of accounts, and with it every transaction whose sender lies in that range. It takes those in batch
order (`run_owned`): it alone compares and consumes their nonces, takes from their senders, and credits receivers that
it owns as well. What has to be credited to another shard's account it puts into its *outbox*, and that shard fetches
it when all have finished (`receive`).

Why it is exact. A shard sees each of its accounts with everything that the batch did to it before, except the credits
that are still in other shards' outboxes. So its balance is never higher than the specification's, and at most by what
all such credits together can be. Hence:

- a debit that is covered by what the shard sees is covered in batch order too, and succeeds;
- a debit that would not be covered even if every credit that may come from elsewhere had arrived fails in batch order
  too. All other amounts of the batch are a bound for those; where that is too much, the shard looks through the
  batch for credits to this account, a few times at most;
- anything between is *uncertain*, and so is whatever might overflow: an account that is seen with 2**63 or more, or a
  mint of that much. Where neither occurs and the other amounts of the batch together stay below 2**63, no balance can
  reach 2**64 in any order. A shard stops at the first uncertainty.

If no shard met one, every transaction had the outcome that it has in batch order (by induction over the batch: the
first that differed would have seen a balance outside these bounds), credits commute, and so the state is the same.

If one did, everything is taken back (`take_back`): each success is reversed, each consumed nonce returned. Sums modulo
2**64 commute, so the order in which that happens does not matter and no log is needed. The batch is then executed in
order.

Statuses and gas begin as zero, which is success; only failures are written, so that two shards seldom write to the same
cache line. A sender that does not exist belongs to the last shard.
"""
# ruff: noqa: N806  (constants keep their names inside the closure)

from __future__ import annotations

from typing import Any

import numpy as np

from supervm_core.columns import U8, U32, U64
from supervm_core.execution.compiling import PAYMENTS, compiled, prefetch, reads, writes
from supervm_core.transactions import ANY_NONCE, Kind, Status

MOST_DOUBTS = 64
"""How often a shard looks through the batch for credits to one account before it gives up: each time costs about as
much as a few thousand transactions."""

TOGETHER = 256
"""Transactions that are looked through for one's own before those are executed."""

LOOK_AHEAD = 16
"""How many credits ahead accounts are asked for."""

BEYOND_DOUBT = 2**63
"""Balances below this, and amounts that together stay below it, cannot overflow in any order."""


def _build_run() -> Any:
    uint64, uint32 = np.uint64, np.uint32
    MINT, BURN = np.uint8(Kind.MINT), np.uint8(Kind.BURN)
    UNKNOWN_KIND, UNKNOWN_ACCOUNT = np.uint8(Status.UNKNOWN_KIND), np.uint8(Status.UNKNOWN_ACCOUNT)
    NONCE_MISMATCH, NONCE_EXHAUSTED = np.uint8(Status.NONCE_MISMATCH), np.uint8(Status.NONCE_EXHAUSTED)
    INSUFFICIENT_BALANCE = np.uint8(Status.INSUFFICIENT_BALANCE)
    ZERO, ONE, DOUBT, ANY = uint64(0), uint64(1), uint64(BEYOND_DOUBT), uint64(ANY_NONCE)
    BLOCK, DOUBTS = uint64(TOGETHER), uint64(MOST_DOUBTS)

    def kernel(
        balances: U64,
        nonces: U64,
        kind: U8,
        sender: U32,
        receiver: U32,
        amount: U64,
        nonce: U64,
        share: U64,
        status: U8,
        outbox: U32,
        progress: U64,
    ) -> None:
        accounts = uint64(balances.size)
        total = uint64(kind.size)
        low = share[0]
        high = share[1]
        arriving = share[2]
        own = np.empty(BLOCK, np.uint32)
        sent = ZERO
        doubts = ZERO
        block = ZERO
        progress[0] = total
        while block < total:
            end = min(block + BLOCK, total)
            found = ZERO
            for place in range(block, end):
                source = uint64(sender[place])
                own[found] = uint32(place)
                found += ONE if source >= low and source < high else ZERO
            for each in range(found):
                ahead = uint64(own[each])
                prefetch(balances, uint64(sender[ahead]))
                prefetch(balances, uint64(receiver[ahead]))
                if nonce[ahead] != ANY:
                    prefetch(nonces, uint64(sender[ahead]))
            for each in range(found):
                t = uint64(own[each])
                what = kind[t]
                source = uint64(sender[t])
                target = uint64(receiver[t])
                value = amount[t]
                if what > BURN:
                    status[t] = UNKNOWN_KIND
                    continue
                if source >= accounts or target >= accounts:
                    status[t] = UNKNOWN_ACCOUNT
                    continue
                if nonce[t] != ANY:
                    expected = nonces[source]
                    if nonce[t] != expected:
                        status[t] = NONCE_EXHAUSTED if expected == ANY else NONCE_MISMATCH
                        continue
                if what == MINT:
                    if value >= DOUBT:
                        progress[0] = t
                        break
                else:
                    held = balances[source]
                    certain = held < DOUBT
                    if certain and held < value and value < DOUBT and held + (arriving - value) >= value:
                        certain = doubts < DOUBTS
                        if certain:
                            doubts += ONE
                            possible = held
                            for earlier in range(t):
                                if (
                                    uint64(receiver[earlier]) == source
                                    and (sender[earlier] < low or sender[earlier] >= high)
                                    and kind[earlier] < BURN
                                    and amount[earlier] < DOUBT
                                ):
                                    possible += amount[earlier]
                            certain = possible < value
                    if not certain:
                        progress[0] = t
                        break
                    if held < value:
                        status[t] = INSUFFICIENT_BALANCE
                        if nonce[t] != ANY:
                            nonces[source] = nonce[t] + ONE
                        continue
                owned = target >= low and target < high
                if what != BURN and owned and balances[target] >= DOUBT:
                    progress[0] = t
                    break
                if what != MINT:
                    balances[source] -= value
                if what != BURN:
                    if owned:
                        balances[target] += value
                    else:
                        outbox[sent] = uint32(t)
                        sent += ONE
                if nonce[t] != ANY:
                    nonces[source] = nonce[t] + ONE
            if progress[0] < total:
                break
            block = end
        progress[1] = sent

    return compiled(
        [writes("uint64"), writes("uint64"), *PAYMENTS, reads("uint64"), writes("uint8"), writes("uint32"),
         writes("uint64")]
    )(kernel)  # fmt: skip


def _build_receive() -> Any:
    uint64 = np.uint64
    ONE, DOUBT, AHEAD = uint64(1), uint64(BEYOND_DOUBT), uint64(LOOK_AHEAD)

    def kernel(balances: U64, receiver: U32, amount: U64, share: U64, outbox: U32, progress: U64) -> None:
        low = share[0]
        high = share[1]
        total = uint64(outbox.size)
        for each in range(total):
            prefetch(balances, uint64(receiver[outbox[min(each + AHEAD, total - ONE)]]))
            t = uint64(outbox[each])
            target = uint64(receiver[t])
            if target >= low and target < high:
                before = balances[target]
                balances[target] = before + amount[t]
                if before >= DOUBT:
                    progress[2] = ONE

    return compiled(
        [writes("uint64"), reads("uint32"), reads("uint64"), reads("uint64"), reads("uint32"), writes("uint64")]
    )(kernel)


def _build_take_back() -> Any:
    uint64 = np.uint64
    MINT, BURN = np.uint8(Kind.MINT), np.uint8(Kind.BURN)
    SUCCESS, INSUFFICIENT_BALANCE = np.uint8(Status.SUCCESS), np.uint8(Status.INSUFFICIENT_BALANCE)
    ZERO, ONE, ANY = uint64(0), uint64(1), uint64(ANY_NONCE)

    def kernel(
        balances: U64,
        nonces: U64,
        kind: U8,
        sender: U32,
        receiver: U32,
        amount: U64,
        nonce: U64,
        share: U64,
        status: U8,
        progress: U64,
        delivered: U64,
    ) -> None:
        low = share[0]
        high = share[1]
        for t in range(progress[0]):
            source = uint64(sender[t])
            if source < low or source >= high:
                continue
            if status[t] in (SUCCESS, INSUFFICIENT_BALANCE) and nonce[t] != ANY:
                nonces[source] -= ONE
            if status[t] == SUCCESS:
                target = uint64(receiver[t])
                if kind[t] != MINT:
                    balances[source] += amount[t]
                if kind[t] != BURN and (delivered[0] != ZERO or (target >= low and target < high)):
                    balances[target] -= amount[t]

    return compiled(
        [writes("uint64"), writes("uint64"), *PAYMENTS, reads("uint64"), reads("uint8"), reads("uint64"),
         reads("uint64")]
    )(kernel)  # fmt: skip


run_owned = _build_run()
"""Execute the transactions of the shard ``share[0] <= sender < share[1]``, in a batch whose amounts below 2**63 add up
to ``share[2]``, which is below 2**63 too. ``progress[0]`` becomes the place of the first uncertain one, or their
number, and ``progress[1]`` how many lie in `outbox`. `status` must hold zeros."""

receive = _build_receive()
"""Credit the shard's accounts with what lies for them in another shard's outbox; ``progress[2]`` becomes 1 if one of
them might have overflowed."""

take_back = _build_take_back()
"""Reverse what `run_owned` did for the shard, with the credits in its outbox if ``delivered[0]`` is not zero."""
