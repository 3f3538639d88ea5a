"""What a live gate can see: how small a slowdown of one case, all others unchanged, it would still tell.

A slowdown is told where its case ends regressed or slower. How often that happens follows from how much launch pairs
differ, and from the rules of `judge.live`: the looks, what each spends of the level, the trimmed mean, the verdict by
interval and threshold, and which equivalent cases are looked at again. No formula holds all of these (the
noncentral t knows one look and no trimming), so gates are played with numbers instead: `SIMULATED` times the effects of
48 launch pairs are drawn from a normal distribution, always the same ones, and every question is put to them.

More spread, a larger family and fewer launches tell less.

The others of the family are taken never to be rejected, so Holm's procedure holds the case against the look's share of
the level divided by the size of the family. Where others did fall, its share would grow and it would be told sooner.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from pytest_supervm.judge.live import LOOKS, SPREAD_FLOOR, TRIMMED
from pytest_supervm.judge.verdict import NEGLIGIBLE

CAUGHT = 0.95
"""How surely a slowdown is to be told for a reader to rely on it."""

SIMULATED = 4000
"""Gates played with numbers: a share of 95 % is known to a third of a percent."""

LARGEST = math.log(2)
"""Twice the work: a gate that may miss even that is not described by a figure."""

STEPS = 14
"""Halvings in the search, which leave a two hundredth of a percent."""

COVERAGE = 0.95
"""Of the interval of a rate of alarms."""

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Rules:
    """What a gate holds one case against.

    Attributes
    ----------
    threshold
        Relative threshold, as an effect.
    family
        Pairs of case and metric judged together.
    level
        Family-wise error level.
    launches
        Launch pairs that the budget allows.
    """

    threshold: float
    family: int
    level: float
    launches: int

    @property
    def looks(self) -> tuple[int, ...]:
        """Launch pairs at each look: the last look is when the budget ends; a single pair shows no spread."""
        last = min(self.launches, LOOKS[-1])
        return (*(look for look in LOOKS if look < last), last) if last > 1 else ()


def launches_within(budget: float, pace: float) -> int:
    """Return the launch pairs that a match plays within `budget` seconds, at `pace` seconds each: one at least."""
    return max(1, min(LOOKS[-1], math.floor(budget / pace)))


def chance(slowdown: float, spread: float, rules: Rules) -> float:
    """Return the probability that a slowdown is told.

    Parameters
    ----------
    slowdown
        As an effect.
    spread
        Standard deviation of the effects of launch pairs.
    rules
        What the case is held against.
    """
    return float(told(slowdown, spread, rules).mean())


def smallest(spread: float, rules: Rules) -> float | None:
    """Return the smallest slowdown, as an effect, that is told with probability `CAUGHT`; None beyond `LARGEST`."""
    low, high = 0.0, LARGEST
    if chance(high, spread, rules) < CAUGHT:
        return None
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if chance(middle, spread, rules) >= CAUGHT else (middle, high)
    return high


def told(slowdown: float, spread: float, rules: Rules) -> Flags:
    """Return in which of the simulated gates a slowdown is told, look by look as `live.Jury` decides."""
    caught = np.zeros(SIMULATED, dtype=bool)
    undecided = np.ones(SIMULATED, dtype=bool)
    for number, launches in enumerate(rules.looks, start=1):
        means, spreads, shrink, df = _drawn(launches)
        reach = -stdtrit(df, rules.level * 0.5**number / rules.family / 2)
        half = reach * shrink * np.maximum(spread * spreads, SPREAD_FLOOR)
        effect = slowdown + spread * means
        low, high = effect - half, effect + half
        worse = (low > NEGLIGIBLE) | ((low > 0) & (effect >= rules.threshold))
        better = (high < 0) & (effect <= -rules.threshold)
        equivalent = (low > -rules.threshold) & (high < rules.threshold)
        caught |= undecided & worse
        settled = equivalent & (np.abs(effect) <= NEGLIGIBLE)
        undecided &= ~(worse | better | settled)
    return caught


def draws() -> Floats:
    """Return the standard normal effects that every gate is played with, of shape (gates, launch pairs)."""
    return np.random.default_rng(0).standard_normal((SIMULATED, LOOKS[-1]))


@functools.cache
def _drawn(launches: int) -> tuple[Floats, Floats, float, int]:
    """Return what `live.estimate` makes of the first launches of every gate, for a spread of one.

    Returns
    -------
    tuple
        Trimmed means and winsorised standard deviations, the factor from these to standard errors, and the degrees of
        freedom.
    """
    ordered = np.sort(draws()[:, :launches], axis=1)
    trimmed = math.floor(TRIMMED * launches)
    kept = ordered[:, trimmed : launches - trimmed]
    winsorised = np.clip(ordered, kept[:, :1], kept[:, -1:])
    n = kept.shape[1]
    shrink = math.sqrt((launches - 1) / (n * (n - 1)))
    return kept.mean(axis=1), winsorised.std(axis=1, ddof=1), shrink, n - 1


def exact(alarms: int, gates: int) -> tuple[float, float]:
    """Return the interval of a rate that was seen as `alarms` of `gates` (C. J. Clopper and E. S. Pearson, "The use of
    confidence or fiducial limits illustrated in the case of the binomial", Biometrika 26 (1934), 404-413).
    """
    from scipy.stats import binomtest  # a second to load, for those who ask

    found = binomtest(alarms, gates).proportion_ci(COVERAGE, "exact")
    return float(found.low), float(found.high)
