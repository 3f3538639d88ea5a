"""Suites drawn by chance: log values of G cases in n kept runs and one new run of the same distribution."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from pytest_supervm.judge.estimate import Estimate, predict, spreads
from pytest_supervm.judge.family import holm
from pytest_supervm.judge.verdict import decide
from pytest_supervm.model import Verdict

LEVEL = 0.01
THRESHOLD = math.log(1.05)
HARMFUL = {Verdict.REGRESSED, Verdict.SLOWER}

Suite = npt.NDArray[np.float64]
"""Shape (cases, kept runs + 1); the last column is the new run."""

Draw = Callable[[np.random.Generator, int, int], Suite]


def equal(rng: np.random.Generator, cases: int, runs: int) -> Suite:
    """All cases vary by 2 %, independently."""
    return rng.normal(0, 0.02, (cases, runs))


def unequal(rng: np.random.Generator, cases: int, runs: int) -> Suite:
    """Cases vary by anything from 0.3 % to 5 %."""
    return rng.normal(0, np.exp(rng.uniform(math.log(0.003), math.log(0.05), (cases, 1))), (cases, runs))


def noisy_among_quiet(rng: np.random.Generator, cases: int, runs: int) -> Suite:
    """One case varies by 5 %, all others by half a percent."""
    return rng.normal(0, [[0.05], *[[0.005]] * (cases - 1)], (cases, runs))


def shared_run_effect(rng: np.random.Generator, cases: int, runs: int) -> Suite:
    """All cases move together."""
    return rng.normal(0, 0.02, (1, runs)) + rng.normal(0, 0.004, (cases, runs))


def ties(rng: np.random.Generator, cases: int, runs: int) -> Suite:
    """A coarse clock: most figures are equal, some a percent off."""
    return 0.01 * np.round(rng.normal(0, 0.4, (cases, runs)))


def drifting(rng: np.random.Generator, cases: int, runs: int) -> Suite:
    """Every case gets slower or faster by up to a percent from run to run, as a machine that ages or heats up."""
    return np.arange(runs) * rng.uniform(-0.01, 0.01, (cases, 1)) + rng.normal(0, 0.005, (cases, runs))


def without_variance(rng: np.random.Generator, cases: int, runs: int) -> Suite:
    """Most cases show one figure in all runs; one in five varies."""
    varies = np.arange(cases)[:, None] % 5 == 1
    return rng.uniform(-9, 9, (cases, 1)) + varies * rng.normal(0, 0.02, (cases, runs))


def heavy_tails(rng: np.random.Generator, cases: int, runs: int) -> Suite:
    """Student's t with 3 degrees of freedom, scaled to a standard deviation of 2 %."""
    return 0.02 / math.sqrt(3) * rng.standard_t(3, (cases, runs))


def estimates(suite: Suite, kept: Sequence[int] | None = None) -> list[Estimate | None]:
    """Estimate every case; `kept` says how many of the newest kept runs each case has, all if None."""
    table = suite.tolist()
    counts = kept or [len(table[0]) - 1] * len(table)
    runs = [dict(list(enumerate(values[:-1]))[-count:]) for values, count in zip(table, counts, strict=True)]
    return [
        None if spread is None else predict(list(known.values()), values[-1], spread)
        for known, values, spread in zip(runs, table, spreads(runs), strict=True)
    ]


def verdicts(suite: Suite, kept: Sequence[int] | None = None) -> list[Verdict]:
    """Judge a suite as `stored.judge` does."""
    found = estimates(suite, kept)
    levels = holm([estimate.p_value if estimate else 1.0 for estimate in found], LEVEL)
    return [
        decide(estimate.effect, estimate.interval(alpha), THRESHOLD) if estimate else Verdict.INCONCLUSIVE
        for estimate, alpha in zip(found, levels, strict=True)
    ]


def alarms(draw: Draw, cases: int, runs: int, suites: int, kept: Sequence[int] | None = None) -> int:
    """Count the suites of unchanged code in which something is called regressed or slower."""
    rng = np.random.default_rng([cases, runs])
    return sum(not HARMFUL.isdisjoint(verdicts(draw(rng, cases, runs + 1), kept)) for _ in range(suites))
