"""Congestion control: who waits when many want the same key (`FASTPATH_CONGESTION_CONTROL=exponential`).

Retrying at once is what makes a hot key a storm. Here three things happen at admission, before a batch exists:

- *Hot keys.* A sketch counts the keys of transactions that met another. Keys in more than `HOT` of them are hot, and
  who touches one takes the hot lane: the ordered path, all of them by one worker.
- *Seats.* The hot lane has `SEATS` of a batch's places. Who finds none is put off, so that the batch's time is not
  theirs alone.
- *A pause.* Past `THRESHOLD` conflicts, admission rests for 10 to 50 ms, longer the more there were.

Who is put off tries again after a random time below a limit that doubles with each attempt: uniform between nothing
and ``min(longest, base * 2**attempt)``. Without chance, all who were put off together would come back together; adding
chance below the limit and then cutting it off, as is often written, leaves none where it is most needed. (M. Brooker,
"Exponential backoff and jitter", 2015, calls this full jitter.) Who was put off more than `FASTPATH_MAX_RETRIES` times
is refused. A refused transaction never was in a batch and has no receipt: `supervm_core.control.admission` tells who.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from supervm_core import environment
from supervm_core.control.controller import Lane, Outcome, Plan, mentions
from supervm_core.control.hotkeys import SpaceSaving
from supervm_core.errors import SettingError

RETRIES_VARIABLE = "FASTPATH_MAX_RETRIES"

DEFAULT_RETRIES = 5
MOST_RETRIES = 64
"""Beyond it waiting is no longer an answer: at the longest delay that is seconds."""

THRESHOLD = 0.5
"""Share of conflicts past which admission rests: half of the work is then done twice."""

SHORTEST_PAUSE, LONGEST_PAUSE = 0.010, 0.050
"""Seconds."""

HOT = 0.05
"""Share of conflicting transactions from which their key is hot."""

TOP = 16
"""Most hot keys at a time. No more than 1/HOT keys can each be in that share, unless transactions have several."""

COUNTERS = 256
"""Of the sketch: its error is below 1/256 of what it counted, far less than `HOT`."""

MEMORY = 0.8
"""What a batch's conflicts still weigh one batch later: about five batches are remembered."""

SEATS = 0.25
"""Share of a batch that the hot lane may take."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long who was put off waits, and how often.

    Parameters
    ----------
    base, longest : float
        Seconds: the limit of the first wait, and of any.
    max_retries : int
        How often a transaction is put off before it is refused; with 0, at once.

    Raises
    ------
    SettingError
        If the times are not positive and in this order, or the number is not from 0 to 64.
    """

    base: float = 0.001
    longest: float = 0.050
    max_retries: int = DEFAULT_RETRIES

    def __post_init__(self) -> None:
        if not 0 < self.base <= self.longest < float("inf"):
            raise SettingError(f"back-off from {self.base} s to {self.longest} s; 0 < base <= longest is wanted")
        if not 0 <= self.max_retries <= MOST_RETRIES:
            raise SettingError(f"max_retries is {self.max_retries}; a whole number from 0 to {MOST_RETRIES} is wanted")

    def delays(self, attempts: NDArray[np.int64], chance: Random) -> NDArray[np.float64]:
        """Return seconds to wait for who has been put off `attempts` times before."""
        limits = np.minimum(self.base * 2.0**attempts, self.longest)
        shares = np.array([chance.random() for _ in range(attempts.size)])
        delays: NDArray[np.float64] = limits * shares
        return delays


class Congestion:
    """The controller that finds hot keys, gives them a lane, and lets admission rest.

    Attributes
    ----------
    hot : ndarray of uint64
        Hot keys, the hottest first.
    """

    def __init__(self) -> None:
        self.hot = np.zeros(0, np.uint64)
        self._pause = 0.0
        self._sketch = SpaceSaving(COUNTERS)
        self._conflicts = 0.0

    def before(self, plan: Plan) -> Plan:
        """Send transactions of hot keys through the hot lane as far as it has seats, and put the others off."""
        lane = plan.lane.copy()
        if self.hot.size:
            present = lane != Lane.LATER
            touching = np.isin(plan.keys, self.hot).any(axis=1) & present
            places = min(plan.sizing.batch_size, int(np.count_nonzero(present)))
            seats = max(int(SEATS * places), 1)
            lane[touching] = np.where(np.cumsum(touching)[touching] <= seats, Lane.HOT, Lane.LATER)
        pause, self._pause = self._pause, 0.0
        return dataclasses.replace(plan, lane=lane, pause=max(plan.pause, pause))

    def after(self, outcome: Outcome) -> None:
        """Count the keys of transactions that met another, and see whether admission has to rest."""
        self._sketch.decay(MEMORY)
        self._conflicts *= MEMORY
        conflicting = outcome.keys[outcome.conflicted]
        # A transaction counts once for a key that it names twice.
        rows, fresh = mentions(conflicting)
        self._sketch.add(rows[fresh])
        self._conflicts += len(conflicting)
        top = self._sketch.top(TOP)
        self.hot = top.keys[top.least > HOT * self._conflicts]
        self._pause = pause(outcome.conflict_rate)


def pause(conflict_rate: float) -> float:
    """Return for how many seconds admission rests after a batch with this share of conflicts."""
    if conflict_rate <= THRESHOLD:
        return 0.0
    excess = (conflict_rate - THRESHOLD) / (1 - THRESHOLD)
    return SHORTEST_PAUSE + excess * (LONGEST_PAUSE - SHORTEST_PAUSE)


def retries_from_environment(environ: Mapping[str, str] = os.environ) -> int:
    """Return what `FASTPATH_MAX_RETRIES` says.

    Raises
    ------
    SettingError
        If it is out of its range.
    """
    return environment.whole(RETRIES_VARIABLE, 0, MOST_RETRIES, DEFAULT_RETRIES, environ)
