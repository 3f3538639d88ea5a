"""Whether the next batch is worth several workers, on a machine where others may have the cores.

Two ways lead to the same result; which is faster changes while other processes come and go. Both are timed: most
batches go the way that was cheaper per unit of work lately, and now and then one goes the other way, so that its price
is known. As long as the other way loses, it is tried half as often each time, but at once when the way that is taken
gets dearer than the other was: work that crawls is noticed within a few batches. The way is changed only when the other
is cheaper by a margin, so that equal ways do not alternate.
"""

from __future__ import annotations

from supervm_core.errors import SettingError

MARGIN = 0.1
"""Share by which the other way must be cheaper: noise between batches is about this large."""

FIRST_TRY = 16
"""Batches until the other way is tried again, twice as many each time it loses."""

LAST_TRY = 1024

FRESH = 0.3
"""Weight of the latest batch in the price of the way that is taken."""


class Fallback:
    """Chooses between several workers and one.

    Attributes
    ----------
    settled : bool
        The way that most batches take: True for several workers.
    """

    def __init__(self) -> None:
        self.settled = True
        self._prices: dict[bool, float] = {}
        self._pause = FIRST_TRY
        self._until_try = FIRST_TRY

    @property
    def parallel(self) -> bool:
        """Whether the next batch should go to several workers."""
        if self.settled not in self._prices:
            return self.settled
        tries = (not self.settled) not in self._prices or self._until_try <= 0 or self._other_is_cheaper()
        return self.settled ^ tries

    def observe(self, parallel: bool, work: int, seconds: float) -> None:
        """Learn what a batch cost.

        Parameters
        ----------
        parallel : bool
            Which way it went.
        work : int
            Units of work, such as transactions; a batch without any teaches nothing.
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
        if parallel == self.settled:
            former = self._prices.get(parallel, price)
            self._prices[parallel] = former + FRESH * (price - former)
            self._until_try -= 1
            return
        self._prices[parallel] = price
        if self._other_is_cheaper():
            self.settled, self._pause = parallel, FIRST_TRY
        else:
            self._pause = min(2 * self._pause, LAST_TRY)
        self._until_try = self._pause

    def _other_is_cheaper(self) -> bool:
        """Whether the other way is cheaper by the margin: when it was last tried, or now that this way has got dear."""
        this, other = self._prices.get(self.settled), self._prices.get(not self.settled)
        return this is not None and other is not None and other < (1 - MARGIN) * this
