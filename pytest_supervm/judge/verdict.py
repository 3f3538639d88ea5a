"""One interval against one threshold.

Effects are log ratios, positive = worse. Where two verdicts hold, the first named wins:

- regressed: the interval excludes zero and the estimate reaches the threshold;
- slower: the interval lies above `NEGLIGIBLE`, yet the estimate stays below the threshold;
- improved: the mirror of regressed;
- equivalent: the whole interval lies between minus and plus the threshold;
- inconclusive: anything else.

Without a threshold nothing is called regressed, and `NEGLIGIBLE` takes its place for the other words.
"""

from __future__ import annotations

import math

from pytest_supervm.model import Verdict

NEGLIGIBLE = math.log(1.01)
"""A change of one percent: below it, even a certain slowdown is not worth a word."""


def decide(effect: float, interval: tuple[float, float], threshold: float | None) -> Verdict:
    """Return the verdict on an effect.

    Parameters
    ----------
    effect
        Estimate, a log ratio.
    interval
        Its low and high end.
    threshold
        Relative threshold as an effect, or None.
    """
    low, high = interval
    reach = NEGLIGIBLE if threshold is None else threshold
    if threshold is not None and low > 0 and effect >= threshold:
        return Verdict.REGRESSED
    if low > NEGLIGIBLE:
        return Verdict.SLOWER
    if high < 0 and effect <= -reach:
        return Verdict.IMPROVED
    if -reach < low and high < reach:
        return Verdict.EQUIVALENT
    return Verdict.INCONCLUSIVE
