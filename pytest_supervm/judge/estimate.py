"""An effect and how sure it is: a new run against kept runs of the same machine.

The independent sample is the run, so a case with n kept runs has n logarithms of values and their mean. Where code and
machine are as before, the next run's logarithm differs from that mean by a variable with standard error
s * sqrt(1 + 1/n): the *prediction* interval, wider than the mean's confidence interval because the new run has its own
luck too.

The variance s**2 between runs is estimated for all cases together. Each case alone has few runs, but the cases tell
about each other: the empirical Bayes estimate of G. K. Smyth, "Linear models and empirical Bayes methods for assessing
differential expression in microarray experiments", Stat. Appl. Genet. Mol. Biol. 3 (2004), article 3, section 6, takes
the variances as drawn from a scaled inverse chi-square distribution, fits its two parameters d0 and s0**2 by the
moments of log s**2, and gives each case the mean of its own variance and s0**2, weighted by degrees of freedom.

Three things are taken with more care than there, because a false alarm costs more here than a wide interval. The other
cases never weigh more than the case's own runs (d0 is at most its own degrees of freedom): a noisy case among quiet
ones, or a new one among old ones, would else borrow a certainty that is not its own, and a case with a single kept run
gets no interval. The fit sees variances as they are; `SPREAD_FLOOR` is applied to its result, for variances lifted to
one floor look as if all cases agreed. And the tails are as heavy as the kept runs show: the degrees of freedom are at
most those of the t distribution with the mean excess kurtosis of the cases, 4 + 6 / kurtosis. Few runs show no tails;
that a run in twenty falls into a bad minute cannot be learnt from five.

Cases measured in the same run are not independent witnesses: a busy minute slows all of them. So the degrees of
freedom are capped at those of the average variance under the correlations seen between the cases,
sum(d) * G / sum(r**2), which is sum(d) for unrelated cases and d for cases that move as one (the variance of a mean of
correlated chi-square variables, by Satterthwaite's matching of moments).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import digamma, polygamma, stdtr, stdtrit

SPREAD_FLOOR = 0.005
"""Smallest standard deviation between runs that is believed: half a percent. Equal figures are luck, or too coarse a
clock, never certainty."""

TIE = 1e-5
"""A standard deviation below this is a tie. It stands in for zero, which has no logarithm to fit a distribution to."""

PLANNING_SPREAD = 0.01
"""Standard deviation between runs that is assumed where there is none to see, only to say how many runs would do: a
quiet machine's. At 2 % no number of runs would settle a threshold of 5 % at the default level."""

MOST_RUNS = 100
"""Beyond this many kept runs no number is named: more would not help enough."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Standard deviation of log values between runs, and what is known about it.

    Attributes
    ----------
    sd
        Standard deviation, at least `SPREAD_FLOOR`.
    df
        Degrees of freedom it rests on.
    tails
        Degrees of freedom that more runs could not exceed, because single runs lie far out; infinite if none does.
    """

    sd: float
    df: float
    tails: float = math.inf


@dataclass(frozen=True, slots=True)
class Estimate:
    """An effect (log ratio, positive = worse) with its standard error and degrees of freedom."""

    effect: float
    error: float
    df: float

    @property
    def p_value(self) -> float:
        """Two-sided probability of an effect at least this large when there is none."""
        return float(2 * stdtr(self.df, -abs(self.effect) / self.error))

    def interval(self, alpha: float) -> tuple[float, float]:
        """Return the two-sided interval of coverage ``1 - alpha``."""
        half = quantile(self.df, alpha) * self.error
        return self.effect - half, self.effect + half


def quantile(df: float, alpha: float) -> float:
    """Return the value that Student's t exceeds in absolute terms with probability `alpha`."""
    return float(stdtrit(df, 1 - alpha / 2))


def predict(kept: Sequence[float], candidate: float, spread: Spread) -> Estimate:
    """Estimate the effect of a new run.

    Parameters
    ----------
    kept
        Log values of the kept runs, turned so that larger is worse.
    candidate
        Log value of the new run, turned likewise.
    spread
        Between-run spread of this case.

    Returns
    -------
    Estimate
        Difference from the mean of `kept`, with the standard error of a prediction.
    """
    return Estimate(candidate - statistics.fmean(kept), spread.sd * math.sqrt(1 + 1 / len(kept)), spread.df)


def spreads(kept: Sequence[Mapping[str, float]]) -> list[Spread | None]:
    """Estimate every case's spread between runs, from all cases together.

    Parameters
    ----------
    kept
        For each case, the log value by run id.

    Returns
    -------
    list
        A spread per case; None for a case with fewer than two kept runs.
    """
    repeated = [values for values in kept if len(values) > 1]
    if not repeated:
        return [None] * len(kept)
    prior_variance, prior_df = _prior([_variance(values) for values in repeated], [len(v) - 1 for v in repeated])
    most_df = sum(len(values) - 1 for values in repeated) * len(repeated) / _sum_of_squared_correlations(repeated)
    tails = _tails(repeated)

    def moderated(values: Mapping[str, float]) -> Spread | None:
        own_df = len(values) - 1
        if own_df < 1:
            return None
        borrowed_df = min(prior_df, own_df)
        df = borrowed_df + own_df
        variance = (borrowed_df * prior_variance + own_df * _variance(values)) / df
        return Spread(max(math.sqrt(variance), SPREAD_FLOOR), min(df, max(most_df, own_df), tails), tails)

    return [moderated(values) for values in kept]


def runs_needed(threshold: float, alpha: float, spread: Spread) -> int | None:
    """Say how many kept runs would let a change of `threshold` be told from none.

    The smallest n for which the prediction interval of coverage ``1 - alpha`` reaches no farther than `threshold` on
    either side, with n - 1 degrees of freedom or those of the tails; None when `MOST_RUNS` would not do.
    """
    for n in range(2, MOST_RUNS + 1):
        if quantile(min(n - 1, spread.tails), alpha) * spread.sd * math.sqrt(1 + 1 / n) <= threshold:
            return n
    return None


def _variance(values: Mapping[str, float]) -> float:
    """Return the sample variance, or that of a tie."""
    return max(_sum_of_powers(values, 2) / (len(values) - 1), TIE**2)


def _sum_of_powers(values: Mapping[str, float], power: int) -> float:
    mean = statistics.fmean(values.values())
    return math.fsum((value - mean) ** power for value in values.values())


def _prior(variances: Sequence[float], degrees: Sequence[int]) -> tuple[float, float]:
    """Fit s0**2 and d0 (Smyth 2004, section 6.2); d0 is 0 with a single case and infinite when all variances agree."""
    if len(variances) < 2:
        return 0.0, 0.0
    logs = [
        math.log(variance) - float(digamma(df / 2)) + math.log(df / 2)
        for variance, df in zip(variances, degrees, strict=True)
    ]
    mean = statistics.fmean(logs)
    excess = statistics.variance(logs) - statistics.fmean(float(polygamma(1, df / 2)) for df in degrees)
    if excess <= 0:
        return math.exp(mean), math.inf
    df = 2 * _inverse_trigamma(excess)
    return math.exp(mean + float(digamma(df / 2)) - math.log(df / 2)), df


def _inverse_trigamma(value: float) -> float:
    """Solve trigamma(x) = value by Newton's method on 1/trigamma, which is convex (Smyth 2004, appendix)."""
    x = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(polygamma(1, x))
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, x))
        x += step
        if -step / x < 1e-8:
            break
    return x


def _sum_of_squared_correlations(kept: Sequence[Mapping[str, float]]) -> float:
    """Sum r**2 over all ordered pairs of cases, each with itself included.

    Each pair is correlated over the runs that it shares; one with too little to see, fewer than three runs or a case
    without variance, counts as 1.
    """
    runs = list(dict.fromkeys(run for values in kept for run in values))
    seen = np.array([[run in values for run in runs] for values in kept], dtype=float)
    centred = np.zeros_like(seen)
    for row, values in zip(centred, kept, strict=True):
        mean = statistics.fmean(values.values())
        row[:] = [values[run] - mean if run in values else 0.0 for run in runs]
    shared = np.maximum(seen @ seen.T, 1)
    sums = centred @ seen.T
    squares = (centred**2) @ seen.T - sums**2 / shared
    products = centred @ centred.T - sums * sums.T / shared
    telling = (shared >= 3) & (np.minimum(squares, squares.T) > TIE**2)
    r_squared = np.ones_like(products)
    np.divide(products**2, squares * squares.T, out=r_squared, where=telling)
    return float(np.minimum(r_squared, 1).sum())


def _tails(kept: Sequence[Mapping[str, float]]) -> float:
    """Return the degrees of freedom of the t distribution whose excess kurtosis is the mean over cases.

    Each case's is the usual unbiased statistic G2 = k4 / k2**2 of its cumulants, weighted by its runs; one with fewer
    than four runs or without variance shows none.
    """
    weighted, weights = 0.0, 0
    for values in kept:
        n = len(values)
        if n < 4 or (variance := _variance(values)) <= TIE**2:
            continue
        fourth = _sum_of_powers(values, 4) / variance**2
        weighted += n * (n * (n + 1) * fourth / (n - 1) - 3 * (n - 1) ** 2) / ((n - 2) * (n - 3))
        weights += n
    return 4 + 6 * weights / weighted if weighted > 0 else math.inf
