"""The features of the executor: what can be switched, and how.

A feature has a name, one sentence, and a tier. Tier 1 is off unless it is switched on, by the caller or by
`ENABLE_<NAME>=1` in the environment; tier 2 is on unless it is switched off, by the caller or by `DISABLE_<NAME>=1`.
The caller's word counts first, then the environment's, then the default. No feature changes a result.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from supervm_core.errors import FeatureError, UnknownNameError


class Feature(NamedTuple):
    """One switch."""

    name: str
    meaning: str
    tier: int

    @property
    def variable(self) -> str:
        """The environment variable that turns it away from its default."""
        return ("ENABLE_" if self.tier == 1 else "DISABLE_") + self.name.upper().replace("-", "_")


PARTITIONED_FASTPATH = "partitioned-fastpath"
CONSENSUS_OPTIMIZATIONS = "consensus-optimizations"

FEATURES = {
    feature.name: feature
    for feature in (
        Feature(PARTITIONED_FASTPATH, "execute payments by the owner of the sender's account, on several threads", 1),
        Feature(
            CONSENSUS_OPTIMIZATIONS, "execute calls that touch nothing in common in lockstep, on several threads", 1
        ),
    )
}
"""Every feature that exists, by its name."""


def active(chosen: Iterable[str] = (), environment: Mapping[str, str] = os.environ) -> frozenset[str]:
    """The features that are on.

    Parameters
    ----------
    chosen : iterable of str
        Names to switch on, or off with a minus sign before them; the last word about a feature counts.
    environment : mapping
        Where the features' variables are looked up.

    Raises
    ------
    UnknownNameError
        If there is no such feature.
    FeatureError
        If a variable is neither 0 nor 1.
    """
    on = {feature.name for feature in FEATURES.values() if _turned(feature, environment) == (feature.tier == 1)}
    for word in chosen:
        name = word.removeprefix("-")
        if name not in FEATURES:
            near = difflib.get_close_matches(name, FEATURES, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(FEATURES)}"
            raise UnknownNameError(f"there is no feature {name!r}; {hint}")
        (on.discard if word.startswith("-") else on.add)(name)
    return frozenset(on)


def _turned(feature: Feature, environment: Mapping[str, str]) -> bool:
    """Whether the environment turns the feature away from its default."""
    value = environment.get(feature.variable, "0")
    if value not in ("0", "1"):
        raise FeatureError(f"{feature.variable} is {value!r}; it must be 0 or 1")
    return value == "1"
