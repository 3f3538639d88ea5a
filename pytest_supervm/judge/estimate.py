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

Cases measured in the same run are not independent witnesses: a busy minute slows all of them. So the degrees of
freedom are capped at those of the average variance under the correlations seen between the cases,
sum(d) * G / sum(r**2), which is sum(d) for unrelated cases and d for cases that move as one (the variance of a mean of
correlated chi-square variables, by Satterthwaite's matching of moments).
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.special import digamma, polygamma, stdtr, stdtrit

SPREAD_FLOOR = 0.005
"""Smallest standard deviation between runs that is believed: half a percent. Equal figures are luck, or too coarse a
clock, never certainty."""

PLANNING_SPREAD = 0.02
"""Standard deviation between runs that is assumed where there is none to see, only to say how many runs would do."""

MOST_RUNS = 100
"""Beyond this many kept runs no number is named: more would not help enough."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Standard deviation of log values between runs, and the degrees of freedom it rests on."""

    sd: float
    df: float


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
        A spread per case; None where nothing can be said, because neither the case nor at least two others have two
        kept runs.
    """
    repeated = [values for values in kept if len(values) > 1]
    if not repeated:
        return [None] * len(kept)
    prior_variance, prior_df = _prior([_variance(values) for values in repeated], [len(v) - 1 for v in repeated])
    most_df = sum(len(values) - 1 for values in repeated) * len(repeated) / _sum_of_squared_correlations(repeated)

    def moderated(values: Mapping[str, float]) -> Spread | None:
        df = len(values) - 1
        if df + prior_df == 0:
            return None
        trust = 1.0 if math.isinf(prior_df) else prior_df / (prior_df + df)
        variance = trust * prior_variance + (1 - trust) * (_variance(values) if df else 0.0)
        return Spread(math.sqrt(max(variance, SPREAD_FLOOR**2)), min(prior_df + df, max(most_df, df)))

    return [moderated(values) for values in kept]


def runs_needed(threshold: float, alpha: float, sd: float) -> int | None:
    """Say how many kept runs would let a change of `threshold` be told from none.

    The smallest n for which the prediction interval of coverage ``1 - alpha`` reaches no farther than `threshold` on
    either side; None when `MOST_RUNS` would not do.
    """
    for n in range(2, MOST_RUNS + 1):
        if quantile(n - 1, alpha) * sd * math.sqrt(1 + 1 / n) <= threshold:
            return n
    return None


def _variance(values: Mapping[str, float]) -> float:
    return max(statistics.variance(values.values()), SPREAD_FLOOR**2)


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
    """Sum r**2 over all ordered pairs of cases, each with itself included; pairs with too little to see count as 1."""
    total = float(len(kept))
    for first, second in itertools.combinations(kept, 2):
        shared = [run for run in first if run in second]
        total += 2 * _squared_correlation([first[run] for run in shared], [second[run] for run in shared])
    return total


def _squared_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    if len(first) < 3 or min(first) == max(first) or min(second) == max(second):
        return 1.0
    return statistics.correlation(first, second) ** 2
