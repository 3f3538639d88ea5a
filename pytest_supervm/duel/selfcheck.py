"""The instrument measures itself: whole gates in which both sides are the working tree, so that every alarm is false.

Each gate is a match like any other, with its looks and a budget of its own; so many are played as the time allows. In
one more, the candidate's side makes extra calls in each block, as many as `judge.selfcheck` believes to be the fewest
that are told.

Both sides have one path. What a real duel has beside this is not in these figures: a folder of another name, though of
equal length; files that git has just written, in the page cache or not; and tests whose source or data differ. And what
a duel keeps apart is shared here: bytecode, and any file that a test writes into the tree, which its twin sees.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

import psutil

from pytest_supervm.duel.match import Match, Side
from pytest_supervm.judge import live, selfcheck
from pytest_supervm.judge.live import Policies
from pytest_supervm.judge.selfcheck import Outcome, Terms
from pytest_supervm.model import Metric, SelfCheck
from pytest_supervm.settings import Settings

PREFIX: Final = "supervm-self-check-"
"""Of the folder for temporary files; the process id follows."""

FEWEST_GATES: Final = 3
"""Gates of unchanged code, whatever time they take: fewer would show nothing."""


class Rehearsal:
    """Gates of a suite against itself.

    Parameters
    ----------
    side
        The working tree.
    policies
        By metric, for each case.
    settings
        Of this invocation; its `self_check` is the time to use up.
    metrics
        The known metrics by name.
    alone
        Entered for each gate, to keep other measurements away.
    progress
        Told the seconds spent and planned.
    """

    def __init__(
        self,
        side: Side,
        *,
        policies: Mapping[str, Policies],
        settings: Settings,
        metrics: Mapping[str, Metric],
        alone: Callable[[], AbstractContextManager[None]],
        progress: Callable[[float, float], None],
    ) -> None:
        self.side = side
        self.policies = policies
        self.settings = settings
        self.metrics = metrics
        self.alone = alone
        self.progress = progress
        self.gates: list[Outcome] = []
        self.confirmed: Outcome | None = None
        self._started = time.monotonic()

    def play(self) -> None:
        """Play gates until the time is used up, the last with extra work.

        Raises
        ------
        SettingsError
            A child cannot start, or a project module comes from outside the tree.
        """
        planned = self.settings.self_check or 0
        self._started = time.monotonic()
        # Room is left for one more gate and for the one with extra work.
        while len(self.gates) < FEWEST_GATES or self._spent() + 2 * self._usual() <= planned:
            self.gates.append(self._gate({}))
        extra = selfcheck.extra_work(selfcheck.smallest(self.gates, self._terms()))
        if extra:
            self.confirmed = self._gate(extra)

    def found(self) -> SelfCheck | None:
        """Return what the gates showed that came to their end; None if none did."""
        return selfcheck.sum_up(self.gates, self.confirmed, self._terms()) if self.gates else None

    def _gate(self, extra: Mapping[str, float]) -> Outcome:
        """Play one gate, with these shares of extra work on the candidate's side, by case."""
        match = self._match()
        for nodeid, share in extra.items():
            match.scores[nodeid].extra = share
        with self.alone():
            started = time.monotonic()
            match.play()
            seconds = time.monotonic() - started
        return Outcome(
            seconds=seconds,
            budget=match.budget,
            launches=match.launches,
            family=len(match.jury.family),
            verdicts={key: decision.verdict for key, decision in match.jury.decisions.items()},
            effects={
                (nodeid, metric): sample
                for nodeid, known in match.scores.items()
                for metric, sample in live.effects(known.pairs, by_cpu=known.by_cpu).items()
            },
            troubles={nodeid: known.trouble for nodeid, known in match.scores.items() if known.trouble},
            extra={nodeid: statistics.fmean(known.added) for nodeid, known in match.scores.items() if known.added},
        )

    def _match(self) -> Match:
        def show(_spent: float, _planned: float) -> None:
            spent = self._spent()
            self.progress(spent, max(spent, self.settings.self_check or 0))

        def keep_quiet(_report: dict[str, Any]) -> None:
            """These tests have been reported when the suite was measured."""

        return Match(
            self.side,
            dataclasses.replace(self.side, name="baseline", scratch=self.side.scratch.with_name("old")),
            policies=self.policies,
            level=self.settings.level,
            least=self.settings.duel_least,
            budget=self.settings.budget,
            metrics=self.metrics,
            replay=keep_quiet,
            progress=show,
        )

    def _terms(self) -> Terms:
        return Terms(live.thresholds(self.policies), self.settings.level)

    def _spent(self) -> float:
        return time.monotonic() - self._started

    def _usual(self) -> float:
        """Return the seconds that a gate takes on average."""
        return statistics.fmean(gate.seconds for gate in self.gates)


@contextlib.contextmanager
def scratch() -> Iterator[tuple[Path, list[str]]]:
    """Yield a folder for logs and temporary files, removed in the end, and sentences about what was left before."""
    left = list(_sweep())
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-", ignore_cleanup_errors=True) as folder:
        yield Path(folder), left


def _sweep() -> Iterator[str]:
    """Remove what earlier self-checks left when they were killed, and name it."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        pid = folder.name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)) and folder.stat().st_uid == os.getuid():
            shutil.rmtree(folder, ignore_errors=True)
            yield f"an earlier self-check (process {pid}) was killed and left {folder}: it was removed"
