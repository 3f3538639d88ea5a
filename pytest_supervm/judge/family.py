"""All pairs of case and metric together: the more of them are judged, the less each may rely on luck.

Holm's step-down procedure (S. Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 6
(1979), 65-70) keeps the probability of any false rejection in the family at the level, whatever the dependence. Each
pair gets the interval of the step that decided it: the k-th smallest p-value is held against level / (m - k), and from
the first that fails all the rest share its step.

Where many are searched for something rather than accused of it, what counts is how many of the finds are false: see
`cut_off`.
"""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float], level: float) -> list[float]:
    """Return for each member of the family the two-sided error level that decides it.

    Parameters
    ----------
    p_values
        One per member, 1 for a member that could not be judged.
    level
        Family-wise error level, between 0 and 1.

    Returns
    -------
    list
        ``level / (m - k)`` for the member with the k-th smallest p-value (k from 0) while rejections last, then the
        value of the first step that failed. A member is rejected exactly if its p-value is at most its value here.
    """
    size = len(p_values)
    levels = [level] * size
    step = 0
    for index in sorted(range(size), key=p_values.__getitem__):
        levels[index] = level / (size - step)
        step += p_values[index] <= levels[index]
    return levels


def cut_off(p_values: Sequence[float], share: float) -> float:
    """Return the error level at which at most `share` of what is found is expected to be false.

    The procedure of Y. Benjamini and Y. Hochberg ("Controlling the false discovery rate", J. R. Statist. Soc. B 57
    (1995), 289-300). Where there is nothing to find, anything at all is found with probability `share` at most.

    Parameters
    ----------
    p_values
        One per series that was searched.
    share
        Largest expected share of false finds, between 0 and 1.

    Returns
    -------
    float
        ``share * k / m`` for the largest k for which the k-th smallest of the m p-values is at most that; 0 if there is
        none, and then nothing is found.
    """
    size = len(p_values)
    levels = (share * k / size for k in range(size, 0, -1))
    ordered = sorted(p_values, reverse=True)
    return next((level for p_value, level in zip(ordered, levels, strict=True) if p_value <= level), 0.0)
