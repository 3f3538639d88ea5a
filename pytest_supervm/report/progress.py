"""A sign of life from a measurement that takes more than two seconds.

On a terminal Rich redraws a bar in place; elsewhere (CI, a pipe) a plain line appears now and then. Both are written
between blocks only, and no thread redraws anything, so that nothing runs beside what is being timed.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

PATIENCE = 2.0
"""Seconds of silence before the first sign."""

REDRAWN_EVERY = 0.5
PRINTED_EVERY = 10.0


class Progress:
    """Shows how far the measurement of one case is, while it is entered as a context.

    Calling it with the seconds spent and the seconds planned shows them, if it is time for a sign.
    """

    def __init__(self, config: pytest.Config, nodeid: str) -> None:
        self._config = config
        self._nodeid = nodeid
        self._due = 0.0
        self._bar: Bar | None = None

    def __enter__(self) -> Progress:
        self._due = time.monotonic() + PATIENCE
        return self

    def __call__(self, spent: float, planned: float) -> None:
        now = time.monotonic()
        reporter = self._config.pluginmanager.getplugin("terminalreporter")
        if now < self._due or reporter is None:
            return
        redrawn = reporter.isatty and not os.environ.get("CI")
        self._due = now + (REDRAWN_EVERY if redrawn else PRINTED_EVERY)
        with uncaptured(self._config):
            reporter.ensure_newline()  # the line that pytest has begun is not ours to redraw
            if redrawn:
                self._redraw(spent, planned)
            else:
                reporter.write_line(f"measuring {self._nodeid}: {spent:.0f} s of about {planned:.0f} s")
                reporter.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            with uncaptured(self._config):
                self._bar.stop()

    def _redraw(self, spent: float, planned: float) -> None:
        if self._bar is None:
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bar

            columns = (TextColumn("measuring {task.description}"), BarColumn(), TextColumn("{task.fields[seconds]}"))
            self._bar = Bar(*columns, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False)
            self._bar.add_task(self._nodeid, seconds="")
            self._bar.start()
        task = self._bar.task_ids[0]
        self._bar.update(task, completed=spent, total=planned, seconds=f"{spent:.0f} of about {planned:.0f} s")
        self._bar.refresh()


def announce(config: pytest.Config, sentence: str) -> None:
    """Print a sentence while tests run, on a line of its own."""
    if (reporter := config.pluginmanager.getplugin("terminalreporter")) is not None:
        with uncaptured(config):
            reporter.ensure_newline()
            reporter.write_line(sentence)
            reporter.flush()


@contextlib.contextmanager
def uncaptured(config: pytest.Config) -> Iterator[None]:
    """Write past pytest's capture."""
    capture = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
        yield
