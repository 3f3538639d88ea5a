"""Rounds in turns: each round takes every figure once, each begins with the next figure, every other goes backwards.

So no figure always follows the same one, whose traces it would find in the caches, and whatever slows the machine for a
while slows all of them. Ratios are of figures taken in the same round.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

Work = Callable[[], object]
"""What is timed. It belongs to a figure, which prepares it afresh in each round."""


class Spread(NamedTuple):
    """A median and the middle half of the values around it."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The quartiles of at least one value; they never lie outside of the values."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        return cls(*statistics.quantiles(values, n=4, method="inclusive"))


@dataclass
class Timed:
    """Seconds of each round, by the figure's name. The first round warms up and is not kept."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def rounds(
        self,
        figures: Mapping[str, Callable[[], Work]],
        rounds: int,
        after: Callable[[str, object], object] = lambda _name, _result: None,
    ) -> None:
        """Time each figure once a round.

        Parameters
        ----------
        figures : mapping of str to callable
            A figure prepares itself and returns what is timed.
        rounds : int
            Rounds that are kept.
        after : callable
            Receives the figure's name and what the work returned, in every round, after the clock has stopped.
        """
        names = list(figures)
        for round_number in range(rounds + 1):
            turn = round_number % len(names)
            for name in (names[turn:] + names[:turn])[:: -1 if round_number % 2 else 1]:
                work = figures[name]()
                start = time.perf_counter()
                result = work()
                took = time.perf_counter() - start
                if round_number:
                    self.seconds.setdefault(name, []).append(took)
                after(name, result)

    def per_second(self, name: str, number: int, unit: float = 1e6) -> list[float]:
        """How many, in units of `unit`, were done in a second, round by round, where each round did `number`."""
        return [number / took / unit for took in self.seconds[name]]

    def ratios(self, name: str, other: str, weight: float = 1) -> list[float]:
        """How much faster `name` was than `other`, round by round."""
        return [weight * b / a for a, b in zip(self.seconds[name], self.seconds[other], strict=True)]
