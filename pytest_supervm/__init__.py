"""pytest-supervm: a performance regression laboratory that lives inside pytest."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_supervm.measure.instrument import Measure
    from pytest_supervm.measure.quantiles import Histogram

__all__ = ["Histogram", "Measure"]


def __getattr__(name: str) -> object:
    """Load what test authors import when they use it: pytest imports this package in every project that has it."""
    if name == "Histogram":
        from pytest_supervm.measure.quantiles import Histogram

        return Histogram
    if name == "Measure":
        from pytest_supervm.measure.instrument import Measure

        return Measure
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
