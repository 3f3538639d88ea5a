"""What people allow: per metric a threshold that warns, one that blocks, and a limit that blocks.

A threshold is a relative change against the baseline in the metric's own direction: ``throughput = { warn = "5%" }``
is a fall of throughput to 95 %, ``latency_p99 = { block = "10%" }`` a rise of latency to 110 %. A limit is absolute
and needs no baseline: an upper bound where lower is better, else a lower bound. Tables are merged key by key: what a
test's marker says stands over ``pyproject.toml``, which stands over the defaults; ``"off"`` takes a key away.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pytest_supervm import units
from pytest_supervm.model import Better, Metric

DEFAULTS: Mapping[str, Mapping[str, str]] = {
    "throughput": {"warn": "5%", "block": "15%"},
    "latency_p99": {"block": "10%"},
}
"""The policies of a project that states none."""

KEYS = ("warn", "block", "limit")
OFF = "off"

NEVER_NEGATIVE = ("s", "B", "ratio")
"""Base units in which a limit below zero can only be a slip of the pen."""


class PolicyError(ValueError):
    """A policy that cannot be read. The message says where it stands and lists what is known."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The thresholds of one metric, as effects (positive log ratios), and its limit in the metric's base unit."""

    warn: float | None = None
    block: float | None = None
    limit: float | None = None

    @property
    def threshold(self) -> float | None:
        """The smaller of the two relative thresholds: from here on a change is called regressed."""
        return min((value for value in (self.warn, self.block) if value is not None), default=None)


NO_POLICY = Policy()
"""Nothing is allowed and nothing forbidden."""


def threshold_as_effect(change: float, better: Better) -> float:
    """Convert a relative change for the worse into an effect.

    Parameters
    ----------
    change
        Fraction above 0, and below 1 where higher is better.
    better
        The metric's direction.

    Returns
    -------
    float
        ``log(1 + change)`` where lower is better, ``-log(1 - change)`` where higher is better.
    """
    return math.log1p(change) if better == "lower" else -math.log1p(-change)


def effect_as_change(effect: float, better: Better) -> float:
    """Convert an effect into a relative change for the worse: the inverse of `threshold_as_effect`."""
    return math.expm1(effect) if better == "lower" else -math.expm1(-effect)


def merge(*tables: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """Merge policy tables by metric and key; the later stands over the earlier."""
    merged: dict[str, dict[str, object]] = {}
    for table in tables:
        for metric, keys in table.items():
            if not isinstance(keys, Mapping):
                raise PolicyError(
                    f"the policy of {metric!r} must be a table such as "
                    f'{{ warn = "5%", block = "15%", limit = "100 ms" }}, not {keys!r}'
                )
            merged.setdefault(metric, {}).update(keys)
    return merged


def read(table: Mapping[str, object], metrics: Mapping[str, Metric]) -> dict[str, Policy]:
    """Read a merged policy table.

    Parameters
    ----------
    table
        Metric name to a table with the keys `KEYS`.
    metrics
        The known metrics by name.

    Returns
    -------
    dict
        Metric name to its policy.

    Raises
    ------
    PolicyError
        An unknown metric, key or unit, or a value that makes no sense; the message lists the known ones.
    """
    policies = {}
    for name, keys in merge(table).items():
        if name not in metrics:
            raise PolicyError(
                f"unknown metric {name!r}: the known ones are {', '.join(metrics)}; "
                f"declare your own under [tool.supervm.metrics]"
            )
        policies[name] = _read_one(metrics[name], keys)
    return policies


def _read_one(metric: Metric, keys: Mapping[str, object]) -> Policy:
    values: dict[str, float] = {}
    for key, value in keys.items():
        if key not in KEYS:
            raise PolicyError(
                f"unknown key {key!r} in the policy of {metric.name}: the known ones are {', '.join(KEYS)}"
            )
        if value == OFF:
            continue
        if not isinstance(value, str):
            raise PolicyError(f'{metric.name}: {key} must be text such as "5%" or "100 ms", not {value!r}')
        try:
            values[key] = (
                _limit(value, metric) if key == "limit" else threshold_as_effect(_change(value, metric), metric.better)
            )
        except units.UnitError as error:
            raise PolicyError(f"{metric.name}: {key}: {error}") from None
    return Policy(**values)


def _change(value: str, metric: Metric) -> float:
    change = units.percentage(value)
    if metric.better == "higher" and change >= 1:
        raise units.UnitError(f"{metric.name} cannot fall by {value}: write a percentage below 100%")
    return change


def _limit(value: str, metric: Metric) -> float:
    limit = units.parse(value, metric.unit)
    if limit < 0 and metric.unit in NEVER_NEGATIVE:
        raise units.UnitError(f"{metric.name} is never below zero: write a limit of 0 or more, not {value}")
    return limit
