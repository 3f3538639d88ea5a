"""Batches to measure and test with: the same seed gives the same bytes on every machine.

Numbers come from numpy's PCG64 bit generator, whose raw stream numpy promises never to change (unlike the distributions
built on it), and are mapped to ranges here: the upper 32 bits of a raw word times the size of the range, shifted down
by 32. For a range of k the bias is below k / 2**32.

A batch fits a ledger: `transfers(..., accounts=n)` names accounts 0..n-1, and with `nonces="strict"` the senders'
nonces count up from zero, as in a new state. `nonces="any"` makes unordered transactions, which a measurement can
execute again and again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import gcd, isfinite
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from supervm_core.errors import BatchError, UnknownNameError
from supervm_core.programs import ARGUMENTS, Program, assemble
from supervm_core.transactions import ANY_NONCE, Batch, Kind

Nonces = Literal["any", "strict"]
Seed = int | Sequence[int]
"""Equal seeds give equal numbers; `(seed, 1)`, `(seed, 2)` and so on are streams apart, while `(seed, 0)` is `seed`."""

SMALL_AMOUNTS = 100
"""Amounts are 1 to this many units: an account that begins with some thousands rarely runs dry."""

GAS_PER_CALL = 1_000

GOLDEN = 2_654_435_769
"""The golden section of 2**32."""

CAPPED_MINT = assemble("""
; Sell the next token of an edition that has a cap: take a number, note who owns it.
;   argument 0: the edition's slot, where it counts tokens sold; the owners follow it
;   argument 1: the cap
            argument  r0, 0
            argument  r1, 1
            load      r2, r0
            less      r3, r2, r1
            jump_unless r3, sold_out
            set       r4, 1
            add       r2, r2, r4        ; this token, counted from 1
            store     r0, r2
            add       r5, r0, r2
            sender    r6
            add       r6, r6, r4        ; 0 means nobody, so owners are accounts + 1
            store     r5, r6
            stop
sold_out:   revert
""")

SWAP = assemble("""
; Exchange against a pool that keeps the product of its two reserves, with a fee of 0.3 %.
;   argument 0: slot of the reserve that grows      argument 2: amount in
;   argument 1: slot of the reserve that shrinks    argument 3: least amount out that is accepted
            argument  r0, 0
            argument  r1, 1
            argument  r2, 2
            argument  r3, 3
            load      r4, r0
            load      r5, r1
            set       r6, 1_000_000_000 ; a pool that was never used begins with these reserves
            jump_if   r4, known_in
            move      r4, r6
known_in:   jump_if   r5, known_out
            move      r5, r6
known_out:  set       r7, 997
            mul       r7, r7, r2        ; amount in after the fee, in thousandths
            set       r8, 1_000
            mul       r8, r8, r4
            add       r8, r8, r7
            mul       r9, r7, r5
            div       r9, r9, r8        ; amount out
            less      r10, r9, r3
            jump_if   r10, too_little
            add       r4, r4, r2
            sub       r5, r5, r9
            store     r0, r4
            store     r1, r5
            stop
too_little: revert
""")

DIGEST = assemble("""
; Fold a word of storage and two arguments into a digest of twelve rounds, as contracts do that check a proof of work.
;   argument 0: the slot, which receives the digest
;   arguments 1 and 2: what is folded in
            argument  r0, 0
            argument  r1, 1
            argument  r2, 2
            load      r3, r0
            set       r4, 12            ; rounds
            set       r5, 1
            set       r6, 0x9E37_79B9_7F4A_7C15
            set       r7, 29
round:      xor       r3, r3, r1
            wrapping_mul r3, r3, r6
            shift_right r8, r3, r7
            xor       r3, r3, r8
            wrapping_add r1, r1, r2
            less      r9, r1, r3
            wrapping_add r2, r2, r9
            or        r10, r1, r5
            sub       r4, r4, r5
            jump_if   r4, round
            store     r0, r3
            stop
""")


class Stream:
    """Reproducible numbers."""

    def __init__(self, seed: Seed) -> None:
        self._bits = np.random.PCG64(seed)

    def below(self, limit: int, size: int) -> NDArray[np.uint64]:
        """`size` numbers, each uniform in 0..limit-1, for limits from 1 to 2**32."""
        raw: NDArray[np.uint64] = self._bits.random_raw(size)
        return ((raw >> np.uint64(32)) * np.uint64(limit)) >> np.uint64(32)

    def fractions(self, size: int) -> NDArray[np.float64]:
        """`size` numbers, each uniform among the multiples of 2**-53 from 0 to less than 1."""
        raw: NDArray[np.uint64] = self._bits.random_raw(size)
        return (raw >> np.uint64(11)).astype(np.float64) * np.float64(2.0**-53)


def zipf(size: int, *, accounts: int, exponent: float, seed: Seed = 0) -> NDArray[np.uint64]:
    """Accounts by Zipf's law: the one of rank r is drawn in proportion to r**-exponent, over all accounts.

    The frequent ones lie scattered over the whole range, and are the same for every seed: whoever is busy in one batch
    is busy in the next. Machines may differ in the last digit of a power, so weights are rounded to whole numbers, with
    2**40 for the first rank (less above four million accounts), and what follows is exact. Ranks whose weight rounds to
    0 are never drawn.

    Parameters
    ----------
    size : int
        Number of draws.
    accounts : int
        Accounts of the ledger, at most 2**32.
    exponent : float
        The skew, at least 0: 0 is uniform, about 1 is common in what people do, 2 gives one account
        six of ten draws.
    seed : int or sequence of int
        Equal seeds give equal draws.

    Raises
    ------
    BatchError
        If there is no account, or the exponent is negative or not finite.
    """
    _at_least_one("accounts", accounts)
    if not (isfinite(exponent) and exponent >= 0):
        raise BatchError(f"Zipf's law has no exponent {exponent}; choose 0 (uniform) or more, such as 1.2")
    first = 2.0 ** min(40, 62 - accounts.bit_length())  # their sum stays below 2**62
    reached = np.cumsum(np.rint(np.arange(1.0, accounts + 1) ** -exponent * first).astype(np.uint64))
    drawn = (Stream(seed).fractions(size) * np.float64(reached[-1])).astype(np.uint64)
    rank = np.searchsorted(reached, np.minimum(drawn, reached[-1] - np.uint64(1)), side="right")
    # Steps of about the golden section of the range scatter evenly; one without a common divisor reaches every account.
    step = next(step for step in range(accounts * GOLDEN >> 32, 2 * accounts + 1) if gcd(step, accounts) == 1)
    scattered: NDArray[np.uint64] = rank.astype(np.uint64) * np.uint64(step) % np.uint64(accounts)
    return scattered


def transfers(txs: int, *, accounts: int, seed: int = 0, nonces: Nonces = "any") -> Batch:
    """Transfers of small amounts between accounts drawn uniformly.

    Parameters
    ----------
    txs : int
        Number of transactions.
    accounts : int
        Accounts of the ledger.
    seed : int
        Equal seeds give equal batches.
    nonces : {"any", "strict"}
        Unordered transactions, or ordered ones whose nonces count up from zero by sender.
    """
    _at_least_one("accounts", accounts)
    stream = Stream(seed)
    sender = stream.below(accounts, txs)
    return Batch(
        kind=np.full(txs, Kind.TRANSFER, np.uint8),
        sender=sender,
        receiver=stream.below(accounts, txs),
        amount=stream.below(SMALL_AMOUNTS, txs) + np.uint64(1),
        nonce=_nonces(sender, nonces),
    )


def calls(
    txs: int,
    *,
    accounts: int,
    slots: int,
    program: Literal["swap", "capped_mint", "digest"] = "swap",
    seed: int = 0,
    nonces: Nonces = "any",
) -> Batch:
    """Calls of one program by senders drawn uniformly; they send no amount.

    Parameters
    ----------
    txs, accounts, seed, nonces
        As for `transfers`.
    slots : int
        Storage words of the ledger, at least 2. `"swap"` makes each pair of words a pool; `"capped_mint"` makes all of
        them one edition, which sells out when there are more calls than words; `"digest"` uses each word by itself.
    program : {"swap", "capped_mint", "digest"}
        An exchange against a pool in either direction, the next token of an edition, or a long computation: about 130
        instructions between one read and one write.
    """
    _at_least_one("accounts", accounts)
    stream = Stream(seed)
    sender = stream.below(accounts, txs)
    return Batch(
        kind=np.full(txs, Kind.CALL, np.uint8),
        sender=sender,
        receiver=stream.below(accounts, txs),
        nonce=_nonces(sender, nonces),
        gas_limit=GAS_PER_CALL,
        arguments=_arguments(program, txs, slots, stream),
        programs=[_PROGRAMS[program]],
    )


def mixed(
    txs: int,
    *,
    accounts: int,
    slots: int,
    call_percent: float = 20,
    seed: int = 0,
    nonces: Nonces = "any",
) -> Batch:
    """Every kind in one batch: of 100 transactions about 70 transfers, 5 mints, 5 burns and 20 swaps.

    Parameters
    ----------
    txs, accounts, slots, seed, nonces
        As for `calls`.
    call_percent : float
        How many of 100 transactions are swaps; of 16 others, 14 are transfers, one is a mint and one a burn.
    """
    _at_least_one("accounts", accounts)
    if not 0 <= call_percent <= 100:
        raise BatchError(f"{call_percent} of 100 transactions cannot be calls; choose from 0 to 100")
    stream = Stream(seed)
    sender = stream.below(accounts, txs)
    lot = stream.below(8_000, txs)
    # How many of the bounds a lot has reached is its kind: transfer, mint, burn, call.
    bounds = [round((100 - call_percent) * reached) for reached in (70, 75, 80)]
    kind = np.searchsorted(np.array(bounds, np.uint64), lot, side="right")
    return Batch(
        kind=kind,
        sender=sender,
        receiver=stream.below(accounts, txs),
        amount=stream.below(SMALL_AMOUNTS, txs) + np.uint64(1),
        nonce=_nonces(sender, nonces),
        gas_limit=GAS_PER_CALL,
        arguments=_arguments("swap", txs, slots, stream),
        programs=[SWAP],
    )


_PROGRAMS: dict[str, Program] = {"swap": SWAP, "capped_mint": CAPPED_MINT, "digest": DIGEST}

_WORKLOADS: dict[str, Callable[..., Batch]] = {"transfer": transfers, "call": calls, "mixed": mixed}


def workload(name: str, **parameters: object) -> Batch:
    """The batch of the workload called `name`, with its parameters.

    Raises
    ------
    UnknownNameError
        If there is no such workload.
    """
    if name not in _WORKLOADS:
        raise UnknownNameError(f"there is no workload {name!r}; known are {', '.join(_WORKLOADS)}")
    return _WORKLOADS[name](**parameters)


def _arguments(program: str, txs: int, slots: int, stream: Stream) -> NDArray[np.uint64]:
    if program not in _PROGRAMS:
        raise UnknownNameError(f"there is no program {program!r} to call; known are {', '.join(_PROGRAMS)}")
    if slots < 2:
        raise BatchError(f"calls of {program!r} need a ledger with at least 2 slots, not {slots}")
    arguments = np.zeros((txs, ARGUMENTS), np.uint64)
    if program == "swap":
        pool = stream.below(slots // 2, txs) * np.uint64(2)
        direction = stream.below(2, txs)
        arguments[:, 0] = pool + direction
        arguments[:, 1] = pool + (np.uint64(1) - direction)
        arguments[:, 2] = stream.below(SMALL_AMOUNTS, txs) + np.uint64(1)
    elif program == "digest":
        arguments[:, 0] = stream.below(slots, txs)
        arguments[:, 1] = stream.below(2**32, txs)
        arguments[:, 2] = stream.below(2**32, txs)
    else:
        arguments[:, 1] = slots - 1
    return arguments


def _nonces(sender: NDArray[np.uint64], nonces: Nonces) -> NDArray[np.uint64]:
    """The nonce column: the sentinel throughout, or how often the sender has occurred before."""
    if nonces == "any":
        return np.full(sender.size, ANY_NONCE, np.uint64)
    if nonces != "strict":
        raise UnknownNameError(f"there is no nonce rule {nonces!r}; known are any, strict")
    return strict_nonces(sender)


def strict_nonces(sender: NDArray[np.unsignedinteger]) -> NDArray[np.uint64]:
    """The nonces that transactions of these senders must carry on a new ledger: they count up from 0 by sender."""
    # Sorted stably by sender, each sender's transactions stand together and in order: a place minus the place where
    # its group begins is the number of earlier ones.
    order = np.argsort(sender, kind="stable")
    grouped = sender[order]
    places = np.arange(sender.size)
    begins = (
        np.maximum.accumulate(np.where(np.r_[True, grouped[1:] != grouped[:-1]], places, 0)) if places.size else places
    )
    counted = np.empty(sender.size, np.uint64)
    counted[order] = (places - begins).astype(np.uint64)
    return counted


def _at_least_one(name: str, number: int) -> None:
    if number < 1:
        raise BatchError(f"a workload needs at least one of {name}, not {number}")
