"""Where an invocation of pytest plays its matches: sides that are set up alike, and nobody else who measures.

A `Ring` turns pytest's configuration into the sides of a duel. The match itself is `duel.match`, a suite against itself
is `duel.selfcheck`; what is played, and what becomes of it, is the session's business.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_supervm.measure.turnstile import Turnstile, TurnstileError
from pytest_supervm.model import Metric
from pytest_supervm.report.progress import Progress, announce
from pytest_supervm.report.wording import count
from pytest_supervm.settings import Settings, SettingsError

if TYPE_CHECKING:
    from pytest_supervm.duel.checkout import Opponent
    from pytest_supervm.duel.match import Match, Side
    from pytest_supervm.duel.selfcheck import Rehearsal
    from pytest_supervm.judge.live import Policies


class Ring:
    """Plays matches for one invocation.

    Parameters
    ----------
    config
        pytest's configuration.
    settings
        What was asked for.
    metrics
        The known metrics by name.
    turnstile
        Keeps others away; or why there is none.

    Attributes
    ----------
    remarks
        What a reader of the verdict must know of the matches, as sentences.
    packages
        Versions of distributions in the candidate's own environment, where it has one.
    rehearsal
        The suite against itself, once it was played.
    """

    def __init__(
        self,
        config: pytest.Config,
        settings: Settings,
        metrics: Mapping[str, Metric],
        turnstile: Turnstile | TurnstileError,
    ) -> None:
        self.config = config
        self.settings = settings
        self.metrics = metrics
        self.turnstile = turnstile
        self.remarks: list[str] = []
        self.packages: Mapping[str, str] = {}
        self.rehearsal: Rehearsal | None = None

    def play(
        self,
        opponent: Opponent,
        policies: Mapping[str, Policies],
        replay: Callable[[dict[str, Any]], None],
        old_policies: Callable[[Sequence[Mapping[str, Any]]], Policies] | None,
    ) -> Match:
        """Play a match of the named tests against a commit.

        Parameters
        ----------
        opponent
            The commit.
        policies
            By metric, for each test that is in the match.
        replay
            Takes the reports of the candidate's tests.
        old_policies
            See `Match`.

        Raises
        ------
        SettingsError
            The other side cannot be checked out or run, or loads what is not its own.
        TurnstileError
            Somebody else measures and does not come to an end.
        """
        from pytest_supervm.duel.checkout import checkout
        from pytest_supervm.duel.environment import equipped
        from pytest_supervm.duel.match import Match, ended_by_signals

        label = f"{count(len(policies), 'case')} against {self.settings.baseline}"
        with contextlib.ExitStack() as stack:
            stack.enter_context(ended_by_signals())
            stack.enter_context(self._alone(label))
            ground = stack.enter_context(checkout(opponent))
            candidate = self._side(opponent, ground.scratch / "new")
            baseline = candidate.moved("baseline", ground.tree, ground.scratch / "old")
            announced = functools.partial(announce, self.config)
            sides = stack.enter_context(equipped(candidate, baseline, self.settings.install, announced))
            progress = stack.enter_context(Progress(self.config, label))
            self.remarks += [*ground.notes, *sides.notes]
            self.packages = sides.packages
            match = Match(
                sides.candidate,
                sides.baseline,
                policies=policies,
                level=self.settings.level,
                least=self.settings.duel_least,
                budget=self.settings.budget,
                metrics=self.metrics,
                replay=replay,
                progress=progress,
                old_policies=old_policies,
            )
            match.play()
        return match

    def rehearse(self, policies: Mapping[str, Policies]) -> None:
        """Play the suite against itself.

        Parameters
        ----------
        policies
            By metric, for each test that measured something.

        Raises
        ------
        SettingsError
            The sides cannot be run, or load what is not in the tree.
        """
        from pytest_supervm.duel.match import ended_by_signals
        from pytest_supervm.duel.selfcheck import Rehearsal, scratch

        label = f"this suite of {count(len(policies), 'case')} against itself"
        with ended_by_signals(), scratch() as (folder, left), Progress(self.config, label) as progress:
            self.remarks += left
            self.rehearsal = Rehearsal(
                self._side(None, folder / "new"),
                policies=policies,
                settings=self.settings,
                metrics=self.metrics,
                alone=lambda: self._alone(label),
                progress=progress,
            )
            try:
                self.rehearsal.play()
            except TurnstileError as error:
                self.remarks.append(f"the self-check ended early: {error}")

    @contextlib.contextmanager
    def _alone(self, what: str) -> Iterator[None]:
        """Keep other measurements of this user, and their tests, away while a match is played."""
        if isinstance(self.turnstile, TurnstileError):
            yield
            return
        with self.turnstile.visit() as visit, visit.alone(what) as reason:
            if reason is not None:
                self.remarks.append(f"the match was not alone: {reason}")
            yield

    def _side(self, opponent: Opponent | None, scratch: Path) -> Side:
        """Describe this invocation to the children of a duel."""
        from pytest_supervm.duel.match import Side

        config, top = self.config, opponent.top if opponent is not None else self.config.rootpath
        cwd = config.invocation_params.dir
        if opponent is not None and not cwd.is_relative_to(top):
            raise SettingsError(f"--supervm-baseline={self.settings.baseline}: run pytest inside the checkout, {top}")
        args = [*map(str, config.invocation_params.args), f"--rootdir={config.rootpath}"]
        if config.pluginmanager.hasplugin("pytest_cov"):
            args.append("--no-cov")
        return Side("candidate", top, config.rootpath, cwd, args, scratch, dict(os.environ))
