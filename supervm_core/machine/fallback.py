"""Which of several ways the next batch should go, on a machine where others may have the cores.

All ways lead to the same result; which is fastest depends on what batches hold, and changes while other processes come
and go. All are timed: most work goes the way that was cheapest per unit of work lately, and now and then some goes
another way, so that its price is known. As long as a way loses, it is tried half as often each time, but at once when
the way that is taken gets dearer than it was: work that crawls is noticed within a few batches. The way is changed only
when another is cheaper by a margin, so that equal ways do not alternate.

The first work on any way is not counted: it touches memory that nobody has touched before, and its price is several
times that of the next.
"""

from __future__ import annotations

from supervm_core.errors import SettingError

MARGIN = 0.1
"""Share by which another way must be cheaper: noise between batches is about this large."""

FIRST_TRY = 16
"""Batches until a way is tried again, twice as many each time it loses."""

LAST_TRY = 1024

MEMORY = 0.7
"""What the work and the time of a batch still weigh one batch later, in the price of the way that is taken."""


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
        self._warm: set[int] = set()
        self._spent: dict[int, tuple[float, float]] = {}
        self._pause = [FIRST_TRY] * ways
        self._until_try = [FIRST_TRY] * ways

    def trial(self) -> int | None:
        """Return a way whose price some of the next work should find out; None if all goes the settled way."""
        this = self._price(self.settled)
        if this is None:
            return None
        for way, left in enumerate(self._until_try):
            price = self._price(way)
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
        if way not in self._warm:
            self._warm.add(way)
            return
        if way == self.settled:
            before_seconds, before_work = self._spent.get(way, (0.0, 0.0))
            self._spent[way] = MEMORY * before_seconds + seconds, MEMORY * before_work + work
            self._until_try = [left - 1 for left in self._until_try]
            return
        self._spent[way] = seconds, work
        this = self._price(self.settled)
        if this is not None and seconds / work < (1 - MARGIN) * this:
            self.settled, self._pause[way] = way, FIRST_TRY
        else:
            self._pause[way] = min(2 * self._pause[way], LAST_TRY)
        self._until_try[way] = self._pause[way]

    def _price(self, way: int) -> float | None:
        """Seconds for a unit of work on a way, lately; None if nobody knows."""
        if way not in self._spent:
            return None
        seconds, work = self._spent[way]
        return seconds / work
