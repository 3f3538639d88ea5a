"""Which of several ways the next batch should go, on a machine where others may have the cores.

All ways lead to the same result; which is fastest depends on what batches hold, and changes while other processes come
and go. All are timed: most work goes the way that was cheapest per unit of work lately, and now and then some goes
another way, so that its price is known. As long as a way loses, it is tried half as often each time, but at once when
the way that is taken gets dearer than it was: work that crawls is noticed within a few batches. The way is changed only
when another is cheaper by a margin, so that equal ways do not alternate.
"""

from __future__ import annotations

from supervm_core.errors import SettingError

MARGIN = 0.1
"""Share by which another way must be cheaper: noise between batches is about this large."""

FIRST_TRY = 16
"""Batches until a way is tried again, twice as many each time it loses."""

LAST_TRY = 1024

FRESH = 0.3
"""Weight of the latest batch in the price of the way that is taken."""


class Fallback:
    """Chooses between ways, which are numbered from 0.

    Parameters
    ----------
    ways : int
        How many there are. The first is taken until another has shown that it is cheaper.

    Attributes
    ----------
    settled : int
        The way that most work takes.
    """

    def __init__(self, ways: int) -> None:
        if ways < 1:
            raise SettingError(f"{ways} ways to choose between; at least 1 is wanted")
        self.settled = 0
        self._prices: dict[int, float] = {}
        self._pause = [FIRST_TRY] * ways
        self._until_try = [FIRST_TRY] * ways

    def trial(self) -> int | None:
        """Return a way whose price some of the next work should find out; None if all goes the settled way."""
        this = self._prices.get(self.settled)
        if this is None:
            return None
        for way, left in enumerate(self._until_try):
            price = self._prices.get(way)
            if way != self.settled and (price is None or left <= 0 or price < (1 - MARGIN) * this):
                return way
        return None

    def observe(self, way: int, work: int, seconds: float) -> None:
        """Learn what some work cost.

        Parameters
        ----------
        way : int
            Which way it went.
        work : int
            Units of work, such as instructions; none at all teaches nothing.
        seconds : float
            Wall time.

        Raises
        ------
        SettingError
            If work or time is negative.
        """
        if seconds < 0 or work < 0:
            raise SettingError(f"a batch of {work} units in {seconds} s; neither can be negative")
        if not work:
            return
        price = seconds / work
        if way == self.settled:
            former = self._prices.get(way, price)
            self._prices[way] = former + FRESH * (price - former)
            self._until_try = [left - 1 for left in self._until_try]
            return
        self._prices[way] = price
        this = self._prices.get(self.settled)
        if this is not None and price < (1 - MARGIN) * this:
            self.settled, self._pause[way] = way, FIRST_TRY
        else:
            self._pause[way] = min(2 * self._pause[way], LAST_TRY)
        self._until_try[way] = self._pause[way]
