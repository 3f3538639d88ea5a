"""The features of the executor: what can be switched, and how.

A feature has a name, one sentence, a tier and an environment variable. Tier 1 is off unless the caller or the variable
switches it on; tier 2 is on unless one of them switches it off. What has no switch is no feature. The caller's word
counts first, then the environment's, then the default. No feature changes a result.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from supervm_core import environment
from supervm_core.errors import UnknownNameError


class Feature(NamedTuple):
    """One switch."""

    name: str
    meaning: str
    tier: int
    variable: str
    """The environment variable that turns it away from its default."""
    words: tuple[str, str] = ("0", "1")
    """The variable's values: for the default, and for the other way."""


PARTITIONED_FASTPATH = "partitioned-fastpath"
CONSENSUS_OPTIMIZATIONS = "consensus-optimizations"
EXPERIMENTAL_PREDICTOR = "experimental-predictor"
ADAPTIVE_PARTITION = "adaptive-partition"
CONGESTION_CONTROL = "congestion-control"
NUMA_AFFINITY = "numa-affinity"
LATENCY_QUANTILES = "latency-quantiles"

FEATURES = {
    feature.name: feature
    for feature in (
        Feature(
            PARTITIONED_FASTPATH,
            "execute payments by the owner of the sender's account, on several threads",
            1,
            "ENABLE_PARTITIONED_FASTPATH",
        ),
        Feature(
            CONSENSUS_OPTIMIZATIONS,
            "execute calls that touch nothing in common in lockstep, on several threads",
            1,
            "ENABLE_CONSENSUS_OPTIMIZATIONS",
        ),
        Feature(
            EXPERIMENTAL_PREDICTOR,
            "let an intake keep transactions apart that will probably conflict",
            1,
            "ENABLE_EXPERIMENTAL_PREDICTOR",
        ),
        Feature(
            ADAPTIVE_PARTITION,
            "let an intake fit partitions, workers and batch size to the load",
            1,
            "FASTPATH_ADAPTIVE_PARTITION",
        ),
        Feature(
            CONGESTION_CONTROL,
            "let an intake give hot keys seats, and put off or refuse who finds none",
            1,
            "FASTPATH_CONGESTION_CONTROL",
            ("off", "exponential"),
        ),
        Feature(
            NUMA_AFFINITY,
            "keep each shard of the partitioned path, and its accounts, on one memory node",
            1,
            "ENABLE_NUMA_AFFINITY",
        ),
        Feature(
            LATENCY_QUANTILES,
            "stamp each micro-batch, so that latencies have quantiles",
            2,
            "DISABLE_LATENCY_QUANTILES",
        ),
    )
}
"""Every feature that exists, by its name."""


def active(chosen: Iterable[str] = (), environ: Mapping[str, str] = os.environ) -> frozenset[str]:
    """The features that are on.

    Parameters
    ----------
    chosen : iterable of str
        Names to switch on, or off with a minus sign before them; the last word about a feature counts.
    environ : mapping
        Where the features' variables are looked up.

    Raises
    ------
    UnknownNameError
        If there is no such feature.
    SettingError
        If a variable is none of its two words.
    """
    on = {feature.name for feature in FEATURES.values() if _turned(feature, environ) == (feature.tier == 1)}
    for word in chosen:
        name = word.removeprefix("-")
        if name not in FEATURES:
            near = difflib.get_close_matches(name, FEATURES, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(FEATURES)}"
            raise UnknownNameError(f"there is no feature {name!r}; {hint}")
        (on.discard if word.startswith("-") else on.add)(name)
    return frozenset(on)


def _turned(feature: Feature, environ: Mapping[str, str]) -> bool:
    """Whether the environment turns the feature away from its default."""
    return environment.choice(feature.variable, feature.words, environ) == feature.words[1]
