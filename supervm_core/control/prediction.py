"""Prediction: which transactions will probably conflict, going by their neighbours (`experimental-predictor`).

Keys that begin alike share a place in a table, which counts how often one was in an executed transaction, and how often
it was to blame for a conflict. To blame is the key of the transaction that was under most suspicion already: the others
were in bad company. The suspicion against a key is blames over occurrences, with `PRIOR` occurrences without blame
added, so that who was never seen is innocent; that against a transaction is its most suspicious key's. Above
`threshold`, the transaction is sent to the ordered path at once, which saves an attempt on the fast path that would be
undone.

A wrong guess costs time, never correctness: both ways give the result of the batch's order. Whether guessing pays is
measured all the time: each batch is predicted before the table learns from it, and `score` keeps the outcome, also
before the first `SAMPLE` transactions, in which nothing is routed yet, and with `route=False`, which only watches.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from supervm_core.columns import U64
from supervm_core.control.controller import Lane, Outcome, Plan
from supervm_core.errors import SettingError

SAMPLE = 1_000
"""Transactions that are watched before any is routed."""

PREFIX_BITS = 16
"""Places of the table, as a power of two: 1 MB of counts, which stays in the cache of a core."""

PRIOR = 4.0
"""Occurrences without blame that every key begins with: it takes more than four conflicts to be suspected."""

HORIZON = 16_384
"""Transactions after which all counts are halved, so that keys which have cooled down are forgotten."""

THRESHOLD = 0.5
"""Where guessing wrong either way costs the same."""


class Score(NamedTuple):
    """How often guesses were right, in transactions."""

    hits: int = 0
    """Expected to conflict, and did."""
    false_alarms: int = 0
    missed: int = 0
    clear: int = 0
    """Not expected to conflict, and did not."""

    def __add__(self, other: object) -> Score:
        if not isinstance(other, Score):
            return NotImplemented
        return Score._make(mine + theirs for mine, theirs in zip(self, other, strict=True))

    @property
    def accuracy(self) -> float:
        """Share of right guesses; 1 where there were none."""
        return (self.hits + self.clear) / sum(self) if sum(self) else 1.0

    @property
    def undone_without(self) -> float:
        """Share of attempts on the fast path that are undone when everybody tries it."""
        return (self.hits + self.missed) / sum(self) if sum(self) else 0.0

    @property
    def undone_with(self) -> float:
        """The same when those who are expected to conflict do not try."""
        tried = self.missed + self.clear
        return self.missed / tried if tried else 0.0

    @property
    def misled(self) -> float:
        """Share of transactions without a conflict that are sent the slower way."""
        peaceful = self.false_alarms + self.clear
        return self.false_alarms / peaceful if peaceful else 0.0


class Prediction:
    """The controller that routes by what it expects.

    Parameters
    ----------
    key_space : int
        Keys are below this number: accounts plus slots.
    route : bool
        Whether to change lanes, or only to keep score.
    threshold : float
        Probability of a conflict above which a transaction takes the ordered path; between 0 and 1.

    Attributes
    ----------
    score : Score
        Of all transactions since the first `SAMPLE`.
    seen : int
        Transactions learnt from.
    """

    def __init__(self, key_space: int, *, route: bool = True, threshold: float = THRESHOLD) -> None:
        if not 1 <= key_space <= 2**64:
            raise SettingError(f"key_space is {key_space}; a ledger has 1 to 2**64 accounts and slots together")
        if not 0 < threshold < 1:
            raise SettingError(f"threshold is {threshold}; a probability between 0 and 1 is wanted")
        self.route = route
        self.threshold = threshold
        self.score = Score()
        self.seen = 0
        self._shift = np.uint64(max((key_space - 1).bit_length() - PREFIX_BITS, 0))
        self._counted = np.zeros(2**PREFIX_BITS)
        self._blamed = np.zeros(2**PREFIX_BITS)
        self._since_halving = 0

    def before(self, plan: Plan) -> Plan:
        """Send those who will probably conflict to the ordered path; lanes that others chose stay."""
        if not self.route or self.seen < SAMPLE:
            return plan
        expected = (self.probabilities(plan.keys) > self.threshold) & (plan.lane == Lane.FAST)
        return dataclasses.replace(plan, lane=np.where(expected, np.uint8(Lane.ORDERED), plan.lane))

    def after(self, outcome: Outcome) -> None:
        """Score what was expected of a batch, then learn from it."""
        met = outcome.conflicted
        places = self._places(outcome.keys)
        suspicion = self._suspicion(places)
        highest = suspicion.max(axis=0, initial=0.0)
        if self.seen >= SAMPLE:
            self.score += _score(highest > self.threshold, met)
        self._forget(met.size)
        np.add.at(self._counted, places, 1.0)
        np.add.at(self._blamed, places[(suspicion == highest) & met], 1.0)

    def probabilities(self, keys: ArrayLike) -> NDArray[np.float64]:
        """Return how probable a conflict is, by transaction.

        Parameters
        ----------
        keys : array_like of int, shape (n, k)
            Keys below the key space; whatever is above is taken for the highest.
        """
        suspicion = self._suspicion(self._places(np.asarray(keys, np.uint64)))
        highest: NDArray[np.float64] = suspicion.max(axis=0, initial=0.0)
        return highest

    def _forget(self, transactions: int) -> None:
        """Count transactions, and halve what is known when there were many."""
        self.seen += transactions
        self._since_halving += transactions
        if self._since_halving >= HORIZON:
            self._counted /= 2
            self._blamed /= 2
            self._since_halving = 0

    def _suspicion(self, places: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return how much speaks against each key, from 0 to 1."""
        against: NDArray[np.float64] = self._blamed[places] / (self._counted[places] + PRIOR)
        return against

    def _places(self, keys: U64) -> NDArray[np.int64]:
        """Return the table's place of each key, its leading bits; by key and then by transaction, shape (k, n)."""
        prefix: U64 = np.minimum(keys.T >> self._shift, np.uint64(2**PREFIX_BITS - 1))
        return np.ascontiguousarray(prefix).astype(np.int64)


def _score(expected: NDArray[np.bool_], met: NDArray[np.bool_]) -> Score:
    right = int(np.count_nonzero(expected & met))
    alarms, conflicts = int(np.count_nonzero(expected)), int(np.count_nonzero(met))
    return Score(right, alarms - right, conflicts - right, met.size - alarms - conflicts + right)
