"""Which commit made a case worse: ``git bisect``, driven by the live duel.

First the bad end duels with the good one. Unless it is worse beyond doubt there is nothing to find, and its effect is
the *whole change*. Then git chooses commits, and each of them duels with the good end, by the very command that a
person would type: ``pytest CASE --supervm-baseline=git:GOOD``. A commit counts as bad when at least half of the whole
change has happened there, and as good when less has; where several commits added a bit each, the one found is the one
that crossed the half. So half of the whole change is the threshold of these duels, whatever the project's policy says,
and they judge this one metric: a duel measures until its question is answered. An interval must rule out one of the two
ends, no change or the whole change; one that rules out neither, or a duel without a result, makes git skip the commit,
and the reason is shown. Nothing is guessed.

All of it happens in a git worktree outside the checkout (`duel.checkout`), and git keeps the state of a bisection with
its worktree: neither the checkout nor a bisection of the user's own is touched. Each step begins as a fresh checkout
would, without files that the one before left.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from pytest_supervm import settings
from pytest_supervm.duel.checkout import GitError, Opponent, checkout, run_git
from pytest_supervm.duel.match import GRACE, HIDDEN, Side, ended_by_signals
from pytest_supervm.judge.policy import effect_as_change
from pytest_supervm.model import STANDARD_METRICS, Results, Row, Verdict
from pytest_supervm.report import wording

SCHEMA = 1
"""Version of the file that ``--json`` writes."""

NOTHING = 3
SEVERAL = 4
"""Exit statuses where no commit was found: the bad end is not worse, or skipped commits leave several."""

HALF = 0.5
"""Share of the whole change from which on a commit counts as bad."""

WORSE = (Verdict.REGRESSED, Verdict.SLOWER)
DECIDED = (*WORSE, Verdict.EQUIVALENT, Verdict.IMPROVED)

FIRST_BAD = re.compile(r"^([0-9a-f]{40,64}) is the first bad commit", re.MULTILINE)
LEFT_OPEN = re.compile(r"^There are only 'skip'ped commits left to test\.$.*", re.MULTILINE | re.DOTALL)
COMMIT = re.compile(r"^[0-9a-f]{40,64}$", re.MULTILINE)

SCRIPT = """
import os, pytest, shutil, signal, threading

alone = threading.Event()


class Focus:
    def pytest_collection_modifyitems(self, config, items):
        from pytest_supervm.bisect import focus

        focus(config, items, {metric!r}, {block!r})


def watch():
    os.read({pipe}, 1)
    alone.set()
    os.kill(os.getpid(), signal.SIGTERM)


threading.Thread(target=watch, daemon=True).start()
try:
    raise SystemExit(pytest.main(plugins=[Focus()]))
finally:
    if alone.is_set():
        shutil.rmtree({scratch!r}, ignore_errors=True)
"""
"""pytest with `focus`, ended by the end of whoever holds the other end of a pipe. Then nobody else may be left to
remove what it writes into the scratch folder. This package is imported late, for pytest complains of a plugin
that is there before it.
"""

Answer = Literal["good", "bad", "skip"]


class BisectError(Exception):
    """What keeps a bisection from its end: what happened, why, and what to do."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One commit's duel with the good end.

    Attributes
    ----------
    commit, subject
        The commit.
    answer
        What git was told. Of the two ends' own duel: whether there is anything to find.
    reason
        Why, as a sentence.
    effect, interval
        As in a `Row`; None where the duel had no result.
    """

    commit: str
    subject: str
    answer: Answer
    reason: str
    effect: float | None = None
    interval: tuple[float, float] | None = None


class Bisection(msgspec.Struct, frozen=True, kw_only=True):
    """What ``--json`` writes.

    Attributes
    ----------
    schema
        Version of this file, `SCHEMA`.
    case, metric
        What was asked about.
    good, bad
        The two ends, as commits.
    whole
        The duel between them.
    steps
        The commits that git chose, in its order; none where the bad end is not worse.
    first_bad
        The commit that was found, or None.
    open
        Where skipped commits hide the first bad one: those that it may be.
    """

    schema: int
    case: str
    metric: str
    good: str
    bad: str
    whole: Step
    steps: tuple[Step, ...] = ()
    first_bad: str | None = None
    open: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: a case and metric, two refs, seconds per duel as the user wrote them, more options of pytest."""

    case: str
    metric: str
    good: str
    bad: str
    budget: str | None = None
    options: Sequence[str] = ()


def bisect(question: Question, here: Path, say: Callable[[str], None]) -> Bisection:
    """Find the commit that made a case worse.

    Parameters
    ----------
    question
        What is asked.
    here
        Where pytest is to be run: a folder of the checkout.
    say
        Takes lines for people, as they come.

    Raises
    ------
    BisectError
        The question makes no sense here, or the two ends cannot be compared.
    """
    here = here.resolve()  # git knows its checkout by its real path
    try:
        top, home = _places(here)
        good, bad = (_commit(top, name) for name in (question.good, question.bad))
        _refuse_unrelated(top, question, good, bad)
        with ended_by_signals(), checkout(Opponent(question.bad, bad, top, home, "the commit")) as ground:
            for note in ground.notes:
                say(f"note: {note}")
            here_too = Side("bisected", top, here, here, question.options, ground.scratch, dict(os.environ))
            return _Search(question, good, bad, here_too.moved("bisected", ground.tree, ground.scratch), say).run()
    except GitError as error:
        raise BisectError(f"git: {error}") from None


def answer(row: Row, whole: float) -> tuple[Answer, str]:
    """Tell from a commit's row whether the change has happened there, and why.

    Parameters
    ----------
    row
        The commit against the good end.
    whole
        Effect of the bad end against the good one, above zero.
    """
    if row.verdict not in DECIDED or row.effect is None or row.interval is None:
        return "skip", f"{row.verdict}: {row.reason}"
    most = row.effect >= HALF * whole
    if most and row.verdict in WORSE:
        return "bad", "at least half of the whole change"
    if not most and row.interval[1] < whole:
        return "good", "less than half of the whole change"
    return "skip", "its interval rules out neither no change nor the whole change"


def focus(config: pytest.Config, items: Sequence[pytest.Item], metric: str, block: str | None) -> None:
    """Leave a duel one question.

    Parameters
    ----------
    config, items
        Of the pytest that is going to duel.
    metric
        The only one that is judged.
    block
        Its change that is to be told from none, as a policy writes it; None for what the project's own policy says.
    """
    policies = {name: {"warn": "off", "block": "off"} for name in (*STANDARD_METRICS, *settings.read(config).metrics)}
    if block is None:
        policies.pop(metric, None)
    elif metric in policies:  # one that only its test knows can have no policy
        policies[metric]["block"] = block
    for item in items:
        item.add_marker(pytest.mark.supervm(**policies), append=False)


def conclusion(found: Bisection, here: Path) -> tuple[int, list[str]]:
    """Return the exit status, and what was found in lines for people."""
    if found.first_bad:
        shown = run_git(here, "log", "-1", "--no-color", "--format=medium", found.first_bad).stdout.splitlines()
        return 0, ["", f"{found.first_bad} is the first bad commit", *shown[1:]]
    if found.open:
        shown = run_git(here, "log", "--no-walk", "--format=%h  %an  %s", *found.open).stdout.splitlines()
        return SEVERAL, ["", f"skipped commits leave {len(found.open)}; the first bad one is among them:", *shown]
    ends = f"{found.bad[:10]} against {found.good[:10]}"
    return NOTHING, ["", f"there is nothing to bisect: {ends} is not worse beyond doubt: {found.whole.reason}"]


class _Search:
    """One bisection in its worktree."""

    def __init__(self, question: Question, good: str, bad: str, side: Side, say: Callable[[str], None]) -> None:
        self.question, self.good, self.bad = question, good, bad
        self.case = question.case
        self.side = side
        self.say = say

    def run(self) -> Bisection:
        row = self._whole()
        told: Answer = "bad" if row.verdict in WORSE else "good" if row.verdict in DECIDED else "skip"
        whole = self._step(self.bad, told, row.reason, row)
        found = Bisection(
            schema=SCHEMA, case=self.case, metric=self.question.metric, good=self.good, bad=self.bad, whole=whole
        )
        if row.verdict not in WORSE or row.effect is None:
            return found
        steps: list[Step] = []
        half = f"{100 * effect_as_change(HALF * row.effect, row.better or 'lower'):.6g}%"
        said = self._afresh("bisect", "start", self.bad, self.good)
        while not (end := FIRST_BAD.search(said) or LEFT_OPEN.search(said)):
            steps.append(self._try(row.effect, half))
            said = self._afresh("bisect", steps[-1].answer)
        first = end[1] if end.re is FIRST_BAD else None
        left = () if first else tuple(COMMIT.findall(end[0]))
        return msgspec.structs.replace(found, steps=tuple(steps), first_bad=first, open=left)

    def _whole(self) -> Row:
        """Duel the bad end with the good one, and settle which case is meant."""
        ends = f"{self.question.bad} against {self.question.good}"
        results = self._duel()
        if isinstance(results, str):
            raise BisectError(f"{ends}: {results}")
        ids = list(dict.fromkeys(row.id for row in self._rows(results)))
        if self.case not in ids:
            if len(ids) > 1:
                raise BisectError(f"{self.case} names {len(ids)} cases, name one of them: {', '.join(ids)}")
            if not ids:
                raise BisectError(f"{ends}: {self.case} has no {self.question.metric}")
            self.case = ids[0]
        row = next(row for row in self._rows(results) if row.id == self.case)
        if row.verdict not in (*DECIDED, Verdict.INCONCLUSIVE):
            raise BisectError(f"{ends}: {self.case} is {row.verdict}: {row.reason}")
        return row

    def _try(self, whole: float, half: str) -> Step:
        """Duel the commit that git chose with the good end, at half of the whole change as a threshold."""
        commit = self._git("rev-parse", "HEAD")
        if run_git(self.side.top, "merge-base", "--is-ancestor", self.good, commit).returncode:
            return self._step(commit, "skip", "it does not descend from the good end, so they cannot be compared")
        results = self._duel(half)
        if isinstance(results, str):
            return self._step(commit, "skip", results)
        row = next((row for row in self._rows(results) if row.id == self.case), None)
        if row is None:
            return self._step(commit, "skip", f"{self.case} has no {self.question.metric} here")
        return self._step(commit, *answer(row, whole), row)

    def _step(self, commit: str, told: Answer, reason: str, row: Row | None = None) -> Step:
        subject = self._git("log", "-1", "--format=%s", commit)
        effect, interval = (row.effect, row.interval) if row else (None, None)
        change = f"{wording.change(row)} {wording.interval(row)}" if row and effect is not None else ""
        self.say(f"{commit[:10]}  {told:4}  {change:24}  {subject}{f'  ({reason})' if told == 'skip' else ''}")
        return Step(commit=commit, subject=subject, answer=told, reason=reason, effect=effect, interval=interval)

    def _rows(self, results: Results) -> list[Row]:
        return [row for row in results.cases if row.metric in (self.question.metric, None)]

    def _duel(self, block: str | None = None) -> Results | str:
        """Run pytest on what is checked out now; return its results, or why there are none."""
        path = self.side.scratch / "results.json"
        path.unlink(missing_ok=True)
        if not self.side.cwd.is_dir():
            return f"there is no folder {self.side.cwd.relative_to(self.side.top)} here"
        budget = [f"--supervm-budget={self.question.budget}"] if self.question.budget else []
        against = [f"--supervm-baseline=git:{self.good}", f"--supervm-json={path}"]
        arguments = [self.case, *self.side.args, *budget, *against]
        status, output = _pytest(self.side, arguments, self.question.metric, block)
        if path.exists():
            return msgspec.json.decode(path.read_bytes(), type=Results)
        lines = [line for line in output.splitlines() if line.strip()]
        told = next((line for line in lines if line.startswith("ERROR")), lines[-1] if lines else "it said nothing")
        return f"pytest ended with status {status}: {told.removeprefix('ERROR: ')}"

    def _afresh(self, *arguments: str) -> str:
        """Run git once the worktree is as a fresh checkout: what a test wrote there would stand in its way."""
        self._git("reset", "--quiet", "--hard")
        self._git("clean", "--quiet", "-ffdx")
        return self._git(*arguments)

    def _git(self, *arguments: str) -> str:
        done = run_git(self.side.top, *arguments)
        if done.returncode and not LEFT_OPEN.search(done.stdout):
            raise GitError((done.stderr.strip().splitlines() or [f"git {arguments[0]} failed"])[-1])
        return done.stdout.strip()


def _pytest(side: Side, arguments: Sequence[str], metric: str, block: str | None) -> tuple[int, str]:
    """Run pytest in a checkout, and end it when this process ends; return its exit status and what it said."""
    inherited = side.environment.get("PYTHONPATH")
    environment = {name: value for name, value in side.environment.items() if not name.startswith(HIDDEN)} | {
        "PYTHONPATH": os.pathsep.join([*side.sources, *([inherited] if inherited else [])]),
        "CI": "",  # a step is no gate: it is judged by `focus`, and not by the rules of the merge base
    }
    reads, writes = os.pipe()
    script = SCRIPT.format(pipe=reads, metric=metric, block=block, scratch=str(side.scratch))
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", script, *arguments],
            cwd=side.cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            pass_fds=(reads,),
            process_group=0,
        )
        with _interrupted_together(process):
            output, _ = process.communicate()
        return process.returncode, output
    finally:
        os.close(reads)
        os.close(writes)


@contextlib.contextmanager
def _interrupted_together(process: subprocess.Popen[str]) -> Iterator[None]:
    """Hand Ctrl-C on to pytest, which then removes what it made, and wait for its end."""
    try:
        yield
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=2 * GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        raise


def _places(here: Path) -> tuple[Path, Path]:
    """Return the checkout, and the git folder that all its worktrees share."""
    done = run_git(here, "rev-parse", "--path-format=absolute", "--show-toplevel", "--git-common-dir")
    if done.returncode:
        raise BisectError(f"{here} is not in a git checkout: run this in the one to be bisected")
    top, home = map(Path, done.stdout.splitlines())
    return top, home


def _commit(top: Path, name: str) -> str:
    done = run_git(top, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    if done.returncode:
        raise BisectError(f"{name!r} is no commit here: fetch it first, or name another")
    return done.stdout.strip()


def _refuse_unrelated(top: Path, question: Question, good: str, bad: str) -> None:
    """Refuse two ends between which there is no way."""
    base = run_git(top, "merge-base", good, bad).stdout.strip()
    if good == bad:
        raise BisectError(f"{question.good} and {question.bad} are the same commit, {good[:10]}")
    if base != good:
        hint = f": give --good {base[:10]}, where their ways part" if base else ""
        raise BisectError(f"{question.good} is no ancestor of {question.bad}, so there is no way between them{hint}")
