"""What one invocation of pytest found: which tests ran and how they ended, and which were left out.

Judging needs it to tell a removed benchmark from one that this invocation did not look at. Under xdist every worker
takes its own census and sends it home, for the controller collects nothing itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

import pytest

from pytest_supervm.judge.coverage import Selection

HIDING_OPTIONS = ("lf", "ignore", "ignore_glob")
"""pytest's options that leave tests out without naming them, by their names in ``config.option``."""

NOT_RUN = "not run"


@dataclass(slots=True)
class Census:
    """Tests by node id.

    Attributes
    ----------
    outcomes
        ``passed``, ``failed``, ``skipped`` or ``not run`` of every selected test.
    deselected
        Tests that were found and left out.
    deselected_measuring
        Those of them that would have measured something.
    broken
        Files that could not be collected.
    """

    outcomes: dict[str, str] = field(default_factory=dict)
    deselected: set[str] = field(default_factory=set)
    deselected_measuring: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)

    def select(self, nodeids: Iterable[str]) -> None:
        """Take tests that are going to run."""
        for nodeid in nodeids:
            self.outcomes.setdefault(nodeid, NOT_RUN)

    def deselect(self, items: Iterable[pytest.Item]) -> None:
        """Take tests that were found and left out."""
        for item in items:
            self.deselected.add(item.nodeid)
            if measures(item):
                self.deselected_measuring.add(item.nodeid)

    def take(self, report: pytest.TestReport) -> None:
        """Take the outcome of one phase of one test; a failure in any phase stands."""
        if report.failed:
            self.outcomes[report.nodeid] = "failed"
        elif report.skipped or (report.when == "call" and self.outcomes.get(report.nodeid) != "failed"):
            self.outcomes[report.nodeid] = report.outcome

    def send(self) -> dict[str, Any]:
        """Return what a controller cannot know by itself, as plain values."""
        return {
            "selected": list(self.outcomes),
            "deselected": list(self.deselected),
            "deselected_measuring": list(self.deselected_measuring),
        }

    def receive(self, sent: Mapping[str, Any]) -> None:
        """Take what a worker sent."""
        self.select(sent["selected"])
        self.deselected.update(sent["deselected"])
        self.deselected_measuring.update(sent["deselected_measuring"])

    def unfinished(self) -> int:
        """Count the tests that failed or never ran, and the files that could not be collected."""
        return sum(outcome in ("failed", NOT_RUN) for outcome in self.outcomes.values()) + len(self.broken)

    def selection(self, config: pytest.Config) -> Selection:
        """Return the census in the words of `judge.coverage`."""
        return Selection(
            scope=scope(config),
            deselected=frozenset(self.deselected),
            outcomes=dict(self.outcomes),
            errors=frozenset(self.broken),
            whole=is_whole(config),
        )


def measures(item: pytest.Item) -> bool:
    """Tell whether a test asks for the fixture `measure`, or for pytest-benchmark's."""
    return asks_for(item, {"measure", "benchmark"})


def asks_for(item: pytest.Item, fixtures: Set[str]) -> bool:
    """Tell whether a test, or a fixture of it, names one of the fixtures in its signature."""
    return not fixtures.isdisjoint(getattr(item, "fixturenames", ()))


def is_whole(config: pytest.Config) -> bool:
    """Tell whether everything in the scope is found, as far as pytest's options say."""
    return not any(config.getoption(name, None) for name in HIDING_OPTIONS)


def scope(config: pytest.Config) -> tuple[str, ...]:
    """Return the files and folders that pytest was told to search, relative to its root directory.

    A single test (``file.py::test``) is no place to search, nor is anything outside the root directory.
    """
    places = []
    for argument in config.args:
        path, node, _ = argument.partition("::")
        place = os.path.relpath(config.invocation_params.dir / path, config.rootpath)
        if not node and not place.startswith(os.pardir):
            places.append(place.replace(os.sep, "/"))
    return tuple(dict.fromkeys(places))
