"""The level is a promise: of all gates over unchanged code at most that share says regressed or slower."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom

from pytest_supervm.judge import estimate
from pytest_supervm.model import Verdict

from . import suites
from .suites import LEVEL, alarms, verdicts

SIZES = {1: 400, 2: 250, 6: 150, 30: 50, 200: 5}
"""Cases of a suite, and how many such suites are drawn for each number of kept runs."""

KEPT = (2, 3, 5, 10, 20)


def most_alarms(suites: int, rate: float = LEVEL) -> int:
    """Return the number of alarms that a true rate of `rate` exceeds once in a thousand times."""
    return int(binom.ppf(0.999, suites, rate))


@pytest.mark.parametrize("cases", SIZES)
@pytest.mark.parametrize(
    "draw",
    [
        suites.equal,
        suites.unequal,
        suites.noisy_among_quiet,
        suites.shared_run_effect,
        suites.ties,
        suites.drifting,
        suites.without_variance,
    ],
)
def test_unchanged_code_raises_no_more_alarms_than_the_level(draw, cases):
    number = SIZES[cases]
    for_each = {runs: alarms(draw, cases, runs, number) for runs in KEPT}
    assert sum(for_each.values()) <= most_alarms(number * len(KEPT))
    assert all(count <= most_alarms(number) for count in for_each.values()), for_each


@pytest.mark.parametrize("kept", [1, 2, 3, 5])
def test_a_new_noisy_case_does_not_borrow_the_certainty_of_old_quiet_ones(kept):
    counts = [kept, *[10] * 5]
    found = alarms(suites.noisy_among_quiet, 6, 10, 400, counts)
    assert found <= most_alarms(400)


def test_without_the_familys_correction_the_promise_is_broken(monkeypatch):
    monkeypatch.setattr(suites, "holm", lambda p_values, level: [level] * len(p_values))
    assert alarms(suites.equal, 30, 20, 150) > most_alarms(150)


def test_heavy_tails_that_the_kept_runs_show_raise_few_alarms():
    """Ten runs cannot rule out heavier tails than they show, so this rate is above the level: known, and bounded."""
    for runs, bound in ((5, 0.03), (10, 0.04), (20, 0.025)):
        assert alarms(suites.heavy_tails, 6, runs, 500) <= most_alarms(500, bound)


def test_heavy_tails_in_the_kept_runs_lower_the_degrees_of_freedom(monkeypatch):
    cautious = alarms(suites.heavy_tails, 6, 20, 500)
    monkeypatch.setattr(estimate, "_tails", lambda _: math.inf)
    assert cautious < alarms(suites.heavy_tails, 6, 20, 500)


@pytest.mark.parametrize(("spread", "caught", "settled"), [(0.01, 0.99, 0.5), (0.02, 0.95, 0.0)])
def test_ten_kept_runs_catch_a_slowdown_of_fifteen_percent(spread, caught, settled):
    rng = np.random.default_rng(7)
    regressed = equivalent = 0
    for _ in range(400):
        suite = rng.normal(0, spread, (6, 11))
        equivalent += verdicts(suite).count(Verdict.EQUIVALENT)
        suite[0, -1] += math.log(1.15)
        regressed += verdicts(suite)[0] is Verdict.REGRESSED
    assert regressed / 400 >= caught
    assert equivalent / 2400 >= settled
