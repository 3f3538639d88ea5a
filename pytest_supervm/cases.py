"""From a test to a case: how what a test measured gets from its item to those who judge it.

A test may run in this process, in a worker of xdist or in a child of a duel, so what it measured travels on its
report, as plain values. Importing this module costs next to nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from pytest_supervm.measure.instrument import Measure
    from pytest_supervm.model import Case, Location


class Instruments(Protocol):
    """What hands out instruments while a laboratory is at work."""

    def instrument(self, item: pytest.Item) -> Measure: ...


INSTRUMENTS = pytest.StashKey[Instruments]()
"""On pytest's configuration, when this invocation measures."""

MEASURE: pytest.StashKey[Measure] = pytest.StashKey()
"""On a test item: what its fixture `measure` handed out."""

ON_REPORT = "supervm"
"""Attribute of a test report that carries what was measured."""

FIXTURES = frozenset({"measure"})
"""Fixtures that make a test a case, as long as no other plugin's suites are adopted."""

PYTEST_BENCHMARK = ("benchmark", "pytest_benchmark.plugin")
"""Names of pytest-benchmark's plugin: as installed, and as loaded with ``-p``."""


def has_pytest_benchmark(config: pytest.Config) -> bool:
    """Tell whether pytest-benchmark is at work, by its plugin's module: other plugins bear its name too."""
    return any(map(config.pluginmanager.hasplugin, PYTEST_BENCHMARK))


def attach(item: pytest.Item, report: pytest.TestReport, **more: Any) -> None:
    """Put what a passed test measured on its report, with whatever else its readers need."""
    import msgspec

    measure = item.stash.get(MEASURE, None)
    if report.when == "call" and report.passed and measure is not None and measure.series:
        setattr(report, ON_REPORT, {"case": msgspec.to_builtins(_case(item, measure)), **more})


def location(item: pytest.Item) -> Location:
    """Return where a test is written."""
    from pytest_supervm.model import Location

    file, line, _ = item.location
    return Location(Path(file).as_posix(), (line or 0) + 1)


def _case(item: pytest.Item, measure: Measure) -> Case:
    from pytest_supervm.model import Case

    callspec = getattr(item, "callspec", None)
    parameters = {name: _short(value) for name, value in callspec.params.items()} if callspec else {}
    return Case(
        id=item.nodeid,
        location=location(item),
        parameters=parameters,
        series=tuple(measure.series.values()),
        conditions=measure.conditions,
    )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
