"""The match: pairs of children, alive at once, measured in turns.

A launch starts two children, one in each tree, with an equal hash seed that is new for each pair. Case after case, both
run its test up to the measured call and warm it; then they time blocks in turns, each turn in the other order than the
one before (ABBA), with equally many calls a block. Where both keep one thread busy, both are pinned to the same core:
whatever that core suffers, both suffer. After the launches of `judge.live.LOOKS`, the jury looks, and only what it
cannot decide is measured again, until the budget ends. Times are in seconds, and in nanoseconds on the wire.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import re
import secrets
import select
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from pytest_supervm.cases import ON_REPORT
from pytest_supervm.duel import needs
from pytest_supervm.duel.wire import (
    Begin,
    Brief,
    Channel,
    Closed,
    Collected,
    Done,
    Finish,
    Found,
    Open,
    Ready,
    Reply,
    Timed,
    Turn,
)
from pytest_supervm.judge import live, rows
from pytest_supervm.judge.coverage import Selection, absent
from pytest_supervm.judge.live import LOOKS, Bout, Jury, Policies
from pytest_supervm.measure import blocks, clock
from pytest_supervm.model import Case, Family, Metric, Row, Verdict
from pytest_supervm.settings import SettingsError

TURNS: Final = 10
"""Blocks of a launch on each side, where calls are short. With twice as many, effects differed by a tenth less from
launch to launch, and a launch took nearly twice as long: more launches tell more."""

FEWEST_TURNS: Final = 4
"""Fewest blocks of a launch: twice there and back."""

LEAST_BUDGET: Final = 60.0
BUDGET_PER_CASE: Final = 3.0
"""Seconds that a duel may take unless somebody says otherwise: the larger of a minute and this for each case."""

ALONE: Final = (0.9, 1.1)
"""Busy threads between which a case is taken to have one, and is pinned to one core."""

GRACE: Final = 10.0
"""Seconds that a child has to tear down its fixtures when it is no longer needed."""

HIDDEN: Final = ("PYTEST_XDIST_", "PYTEST_CURRENT_TEST", "COV_CORE_", "CODSPEED_")
"""Beginnings of environment variables that other plugins set for this process alone."""

BOOTSTRAP: Final = (
    "import sys; sys.path += {borrowed!r}; sys.path.insert(0, {home!r}); import pytest_supervm; "
    "sys.path.remove({home!r}); import pytest_supervm.duel.child as child; child.main({reading}, {writing})"
)
"""What a child begins with: only the laboratory itself is taken from the parent's place, whatever else lies there."""


REMEDY: Final = (
    "Name the command that installs the project in pyproject.toml:\n"
    "  [tool.supervm.live]\n"
    "  install = \"pip install -e '.[test]'\"\n"
    "Then each side gets an environment of its own, in which the command installs and builds it from its own tree. "
    "Where nothing has to be built, it is enough to uninstall the copy, or to name the folder of the sources in "
    "pytest's setting `pythonpath`, which either side reads in its own tree"
)
REMEDY_INSIDE: Final = (
    "The side's own environment was made by `install` in [tool.supervm.live] of pyproject.toml, or by pip where that "
    "is not set: name a command that installs the project from the folder it runs in, such as pip install -e ., and "
    "builds what has to be built"
)


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two: its name, its checkout, and where in it pytest is run.

    Attributes
    ----------
    name
        ``candidate`` or ``baseline``.
    top, root, cwd
        The checkout, and in it pytest's root directory and working directory.
    args
        Command line of its pytest.
    scratch
        Folder for its temporary files and logs.
    environment
        What its children inherit.
    venv
        Its own environment, None where it is that of pytest.
    borrowed
        Folders of packages that stand last on the path.
    """

    name: str
    top: Path
    root: Path
    cwd: Path
    args: Sequence[str]
    scratch: Path
    environment: Mapping[str, str]
    venv: Path | None = None
    borrowed: Sequence[str] = ()

    @property
    def python(self) -> str:
        """The interpreter of its children."""
        return str(self.venv / "bin" / "python") if self.venv else sys.executable

    @property
    def distributions(self) -> list[str]:
        """Names under which the project is installed."""
        return list(dict.fromkeys(name for folder in (self.root, self.top) for name in needs.distributions(folder)))

    @property
    def sources(self) -> list[str]:
        """Folders that stand first on the path."""
        folders = (self.root, self.root / "src", self.top, self.top / "src")
        return [str(folder) for folder in dict.fromkeys(folders) if folder.is_dir()]

    def equipped(self, venv: Path, borrowed: Sequence[str]) -> Side:
        """Return this side with an environment of its own, as if that were activated."""
        activated = {
            "PATH": os.pathsep.join([str(venv / "bin"), self.environment.get("PATH", os.defpath)]),
            "UV_PROJECT_ENVIRONMENT": str(venv),
            "VIRTUAL_ENV": str(venv),
        }
        return dataclasses.replace(self, venv=venv, borrowed=borrowed, environment={**self.environment, **activated})

    def moved(self, name: str, top: Path, scratch: Path) -> Side:
        """Return this side as it would be in another checkout: every path into this one leads into that one."""

        def there(text: str) -> str:
            return re.sub(rf"(?<![\w/.-]){re.escape(str(self.top))}(?=[/:]|$)", str(top), text)

        moving = ("PYTHONPATH", "PYTEST_ADDOPTS", "PWD")
        return Side(
            name,
            top,
            top / self.root.relative_to(self.top),
            top / self.cwd.relative_to(self.top),
            [there(argument) for argument in self.args],
            scratch,
            {key: there(value) if key in moving else value for key, value in self.environment.items()},
        )


class Child:
    """A running child.

    Parameters
    ----------
    side
        Which one.
    brief
        What it is told first.
    seed
        Of its hashes.
    """

    def __init__(self, side: Side, brief: Brief, seed: int) -> None:
        self.side = side
        for folder in (side.scratch, side.cwd, side.root):
            folder.mkdir(parents=True, exist_ok=True)
        self._log = side.scratch / "log"
        inherited = side.environment.get("PYTHONPATH")
        environment = {name: value for name, value in side.environment.items() if not name.startswith(HIDDEN)} | {
            "PYTHONHASHSEED": str(seed),
            "PYTHONPATH": os.pathsep.join([*side.sources, *([inherited] if inherited else [])]),
            "TMPDIR": str(side.scratch),
        }
        hears, theirs = os.pipe()
        reads, writes = os.pipe()
        home = str(Path(__file__).parents[2])
        bootstrap = BOOTSTRAP.format(borrowed=list(side.borrowed), home=home, reading=reads, writing=theirs)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [side.python, "-c", bootstrap],
                cwd=side.cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(reads, theirs),
                process_group=0,
            )
        os.close(theirs)
        os.close(reads)
        self._channel = Channel(hears, writes, Reply)
        with contextlib.suppress(Closed):  # then the first answer does not come either
            self._channel.send(brief)

    def send(self, command: Open | Begin | Turn | Finish) -> None:
        self._channel.send(command)

    def receive(self) -> Any:
        return self._channel.receive(lambda: self.alive)

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def last_words(self) -> str:
        """Return the end of what it wrote, for people."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        lines = self._log.read_text(errors="replace").strip().splitlines()[-8:]
        return "\n".join(lines) or f"it wrote nothing (exit status {self._process.returncode})"

    def dismiss(self) -> None:
        """Ask it to end, by closing its pipe."""
        self._channel.close()

    def end(self, grace: float) -> None:
        """Wait so many seconds for its end, and then end it by force, with all that it started."""
        _await_end(self._process, grace)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@dataclass(slots=True)
class Scores:
    """What one case showed so far.

    Attributes
    ----------
    played
        Whether its test has run to its end.
    pairs
        Its records in each launch pair: baseline, candidate.
    alone
        The candidate's records in launches without a counterpart.
    timed
        Blocks of either side, by its name.
    trouble
        Why it is no longer measured.
    absence
        Why there is no baseline, where the other side has none.
    by_cpu
        Whether CPU time stands for throughput.
    extra
        Share of calls that the candidate makes beyond those that are booked; a self-check looks whether it is told.
    added
        What that came to in each launch, in whole calls, as a share.
    idle
        Whether neither side measures it, such as a test that is skipped on both.
    """

    played: bool = False
    pairs: list[tuple[Case, Case]] = field(default_factory=list)
    alone: list[Case] = field(default_factory=list)
    timed: dict[str, list[Timed]] = field(default_factory=dict)
    trouble: str | None = None
    absence: str | None = None
    by_cpu: bool = False
    extra: float = 0.0
    added: list[float] = field(default_factory=list)
    idle: bool = False

    def add(self, calls: int) -> int:
        """Return how many calls the candidate makes in each block beyond `calls`, rounded up."""
        more = math.ceil(calls * self.extra)
        self.added.append(more / calls)
        return more

    @property
    def unsettled(self) -> bool:
        """Whether more launches could tell more: both sides measure it, or it has not been its turn yet."""
        return self.trouble is None and not self.alone and bool(self.pairs or not self.played)


class Match:
    """One duel.

    Parameters
    ----------
    candidate, baseline
        The two sides.
    policies
        By metric, for each test that measures, as the candidate has them.
    level
        Family-wise error level.
    least
        Seconds of timed work on each side until the first look.
    budget
        Seconds for all of it; None for the default.
    metrics
        The known metrics by name.
    replay
        Takes the reports of the candidate's tests, as their children sent them.
    progress
        Told the seconds spent and planned, between turns.
    old_policies
        Returns the policies that a test's markers on the baseline side give it; None where the candidate's count.
    """

    def __init__(
        self,
        candidate: Side,
        baseline: Side,
        *,
        policies: Mapping[str, Policies],
        level: float,
        least: float,
        budget: float | None,
        metrics: Mapping[str, Metric],
        replay: Callable[[dict[str, Any]], None],
        progress: Callable[[float, float], None],
        old_policies: Callable[[Sequence[Mapping[str, Any]]], Policies] | None = None,
    ) -> None:
        self.sides = (baseline, candidate)
        self.policies = dict(policies)
        self.old_policies = old_policies
        self.changed_policies: list[str] = []
        self.budget = budget if budget is not None else max(LEAST_BUDGET, BUDGET_PER_CASE * len(policies))
        self.block = max(least * blocks.SECOND / (LOOKS[0] * TURNS), clock.STAMP_SHARE * clock.inspect().grain)
        self.metrics = dict(metrics)
        self.replay = replay
        self.progress = progress
        self.jury = Jury({}, level)
        self.launches = 0
        self.scores = {nodeid: Scores() for nodeid in policies}
        self.tests: dict[str, dict[str, Found]] = {}
        self.broken: dict[str, dict[str, str]] = {}
        self.one_sided: set[tuple[str, str]] = set()
        self._started = time.monotonic()
        self.why_no_more = ""

    def play(self) -> None:
        """Launch pairs and look, until everything is decided or the budget ends.

        Raises
        ------
        SettingsError
            A child cannot start, or a project module comes from outside its side's tree.
        """
        self._started = time.monotonic()
        wanted = list(self.policies)
        while wanted:
            self._launch(wanted)
            spent = time.monotonic() - self._started
            over = spent + spent / self.launches > self.budget
            if self.launches in LOOKS or over:
                self._look()
                undecided = {nodeid for nodeid, _ in self.jury.open}
                wanted = [nodeid for nodeid in wanted if nodeid in undecided or not self.scores[nodeid].played]
            wanted = [nodeid for nodeid in wanted if self.scores[nodeid].unsettled]
            pairs = f"{self.launches} launch pair{'' if self.launches == 1 else 's'}"
            self.why_no_more = f"launches differ too much, even {pairs} were not enough"
            if over:
                self.why_no_more = f"the budget of {self.budget:g} s ended after {pairs}: raise --supervm-budget"
            if over or self.launches == LOOKS[-1]:
                return

    def judge(self, selection: Selection) -> tuple[tuple[Row, ...], Family]:
        """Return a row per case and metric, worst first, and the family."""
        bouts, found = [], []
        baseline, candidate = (self.tests.get(side.name, {}) for side in self.sides)
        for nodeid, known in self.scores.items():
            if known.trouble is not None:
                where = candidate[nodeid].location
                found.append(Row(id=nodeid, location=where, verdict=Verdict.ERRORED, reason=known.trouble))
            elif known.pairs or known.alone:
                bouts.append(self._bout(nodeid, known))
        judged, family = live.judge(bouts, self.jury, self.why_no_more)
        absences = [
            absent(Case(id=nodeid, location=test.location), selection)
            for nodeid, test in baseline.items()
            if nodeid not in candidate or (nodeid in self.scores and not self._is_accounted_for(nodeid))
        ]
        for row in absences:
            gone = row.verdict is Verdict.MISSING and row.id not in candidate
            reason = "the merge base has this case and it no longer exists" if gone else row.reason
            found.append(msgspec.structs.replace(row, reason=reason))
        return tuple(sorted([*found, *judged], key=rows.badness)), family

    def cases(self) -> tuple[Case, ...]:
        """Return the candidate's records, launches joined."""
        return tuple(
            live.joined([after for _, after in known.pairs] or known.alone)
            for known in self.scores.values()
            if (known.pairs or known.alone) and known.trouble is None
        )

    def notes(self) -> Iterator[str]:
        """Say which benchmarks changed themselves, which policies, and what is compiled on one side only."""
        for nodeid in self.changed_policies:
            yield f"{nodeid}: this branch changes its policy: that of the merge base counts, as in any CI"
        for side, name in sorted(self.one_sided):
            yield f"the extension module {name} is there on the {side} side only"
        for nodeid, known in self.scores.items():
            if known.pairs and self._changed(nodeid):
                yield f"{nodeid}: the benchmark itself changed"

    def _is_accounted_for(self, nodeid: str) -> bool:
        """Tell whether there is nothing to miss: the candidate measured the case, or nobody does."""
        known = self.scores[nodeid]
        return bool(known.pairs or known.alone or known.trouble or known.idle)

    def _bout(self, nodeid: str, known: Scores) -> Bout:
        return Bout(
            case=live.joined([after for _, after in known.pairs] or known.alone),
            baseline=live.joined([before for before, _ in known.pairs]) if known.pairs else None,
            policies=self.policies[nodeid],
            effects=live.effects(known.pairs, by_cpu=known.by_cpu),
            by_cpu=known.by_cpu,
            absence=known.absence or "the merge base lacks this case",
            remark="the benchmark itself changed" if known.pairs and self._changed(nodeid) else "",
        )

    def _changed(self, nodeid: str) -> bool:
        before, after = (self.tests[side.name][nodeid].source for side in self.sides)
        return before != after

    def _look(self) -> None:
        """Let the jury judge; at its first look, settle which clock speaks for each case."""
        if self.jury.looks == 0:
            for known in self.scores.values():
                known.by_cpu = bool(known.pairs) and all(map(_one_busy_thread, known.timed.values()))
            fit = {nodeid: self.policies[nodeid] for nodeid, known in self.scores.items() if not known.trouble}
            self.jury.thresholds = live.thresholds(fit)
        self.jury.look(
            {
                (nodeid, metric): sample
                for nodeid, known in self.scores.items()
                if known.pairs and not known.trouble
                for metric, sample in live.effects(known.pairs, by_cpu=known.by_cpu).items()
            }
        )

    def _launch(self, wanted: Sequence[str]) -> None:
        """Play the wanted cases once between a new pair of children."""
        seed = secrets.randbelow(2**32)
        core = _core(self.launches)
        children: list[Child] = []
        grace = 1.0
        try:
            for side, other in (self.sides, self.sides[::-1]):
                brief = Brief(
                    args=list(side.args),
                    tree=str(side.top),
                    other=str(other.top),
                    sources=side.sources,
                    block=self.block,
                    metrics=self.metrics,
                    venv=str(side.venv or ""),
                    distributions=[*side.distributions, *other.distributions],
                )
                children.append(Child(side, brief, seed))
            for child in children:
                self._collect(child)
            if self.launches == 0:
                self._take_old_policies()
            self.launches += 1
            for nodeid, following in zip(wanted, [*wanted[1:], None], strict=True):
                if not self._case(children, nodeid, following, core):
                    break  # a child is gone; the next launch goes on with the others
            grace = GRACE
        finally:
            for child in children:
                child.dismiss()
            for child in children:
                child.end(grace)

    def _collect(self, child: Child) -> None:
        try:
            collected = child.receive()
        except Closed:
            raise SettingsError(
                f"the {child.side.name} side ({child.side.top}) ended before it had collected its tests:\n"
                f"{child.last_words()}"
            ) from None
        assert isinstance(collected, Collected)
        self._refuse_strays(child.side, collected.strays)
        self._compare_built(child.side, collected.built)
        self.tests.setdefault(child.side.name, {test.nodeid: test for test in collected.tests})
        self.broken.setdefault(child.side.name, collected.broken)

    def _take_old_policies(self) -> None:
        """Judge by the markers of the baseline side, where its rules count, and remember which differ."""
        if self.old_policies is None:
            return
        for nodeid, test in self.tests["baseline"].items():
            if nodeid in self.policies and (old := self.old_policies(test.markers)) != self.policies[nodeid]:
                self.policies[nodeid] = old
                self.changed_policies.append(nodeid)

    def _refuse_strays(self, side: Side, strays: Mapping[str, str]) -> None:
        if not strays:
            return
        listed = "\n".join(f"  {name} {reason}" for name, reason in list(strays.items())[:5])
        raise SettingsError(
            f"the {side.name} side must take the project's modules from its own tree, {side.top}, and\n{listed}\n"
            f"{REMEDY if side.venv is None else REMEDY_INSIDE}"
        )

    def _compare_built(self, side: Side, built: Sequence[str]) -> None:
        baseline, candidate = self.sides
        if side is candidate:
            refuse_unbuilt(baseline, built)
        other = baseline if side is candidate else candidate
        self.one_sided |= {(side.name, name) for name in built if not (other.top / name).exists()}

    def _case(self, children: Sequence[Child], nodeid: str, following: str | None, core: int | None) -> bool:
        """Play one case; False when a child died over it."""
        known = self.scores[nodeid]
        here = [child for child in children if nodeid in self.tests[child.side.name]]
        following = following if all(following in self.tests[child.side.name] for child in children) else None
        dones: dict[str, Done] = {}
        try:
            for child in here:
                child.send(Open(nodeid, following))
            heard = {child.side.name: child.receive() for child in here}
            if here and all(isinstance(reply, Ready) for reply in heard.values()):
                self._turns(here, list(heard.values()), known, core)
            for child in here:
                if isinstance(heard[child.side.name], Ready):
                    child.send(Finish())
                    heard[child.side.name] = child.receive()
                dones[child.side.name] = heard[child.side.name]
        except Closed:
            self._crashed(here, nodeid, known)
            return False
        for child in here:
            self._refuse_strays(child.side, dones[child.side.name].strays)
            self._compare_built(child.side, dones[child.side.name].built)
        self._score(nodeid, known, dones)
        return True

    def _turns(self, here: Sequence[Child], ready: Sequence[Ready], known: Scores, core: int | None) -> None:
        """Time blocks in turns."""
        turns, calls = plan(ready, self.block)
        stamped = all(reply.call >= clock.STAMP_SHARE * clock.inspect().grain for reply in ready)
        one_thread = all(ALONE[0] <= reply.threads <= ALONE[1] for reply in ready)
        if any(reply.rounds for reply in ready):  # the first launch tells the others
            one_thread = bool(known.timed) and all(map(_one_busy_thread, known.timed.values()))
        for child, block in zip(here, calls, strict=True):
            extra = known.add(block) if child.side is self.sides[1] else 0
            child.send(Begin(block, stamped, core if one_thread else None, extra))
        for child in here:
            child.receive()
        for turn in range(turns):
            for child in here if (turn + self.launches) % 2 else reversed(here):
                child.send(Turn())
                known.timed.setdefault(child.side.name, []).append(child.receive())
            spent = time.monotonic() - self._started
            ahead = next(look for look in LOOKS if look >= self.launches)
            self.progress(spent, min(self.budget, spent * ahead / self.launches))

    def _score(self, nodeid: str, known: Scores, dones: Mapping[str, Done]) -> None:
        """Take the records of both sides, and show the candidate's reports: all at first, then what fails."""
        baseline, candidate = (dones.get(side.name) for side in self.sides)
        if candidate is None:
            file = nodeid.partition("::")[0]
            known.trouble = self.broken["candidate"].get(file, "its test was not found again in a process of its own")
            return
        first, known.played = not known.played, True
        for report in candidate.reports:
            if first or report["outcome"] == "failed":
                self.replay(report)
        record = _record(candidate.reports)
        if failed := _failure(candidate.reports):
            known.trouble = f"its test failed: {failed}"
        elif record is None:
            known.idle = baseline is None or _record(baseline.reports) is None
        elif baseline is None:
            broken = self.broken["baseline"].get(nodeid.partition("::")[0])
            known.trouble = f"at the merge base its file cannot be collected: {broken}" if broken else None
            known.alone.append(record)
        elif failed := _failure(baseline.reports):
            known.trouble = f"its test fails at the merge base: {failed}"
        elif (before := _record(baseline.reports)) is None:
            known.absence = "its test did not measure anything at the merge base"
            known.alone.append(record)
        else:
            known.pairs.append((before, record))

    def _crashed(self, here: Sequence[Child], nodeid: str, known: Scores) -> None:
        """Say whose process died."""
        dead = next((child for child in here if not child.alive), here[0])
        words = dead.last_words()
        known.trouble = f"the process of the {dead.side.name} side died: {words.splitlines()[-1]}"
        if dead.side.name == "candidate":
            where = self.tests["candidate"][nodeid].location
            self.replay(
                {
                    "$report_type": "TestReport",
                    "nodeid": nodeid,
                    "location": [where.file, where.line - 1, nodeid.partition("::")[2]],
                    "keywords": {},
                    "outcome": "failed",
                    "longrepr": f"the process died:\n{words}",
                    "when": "call",
                    "sections": [],
                    "duration": 0.0,
                    "start": 0.0,
                    "stop": 0.0,
                }
            )


def _await_end(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait so long for a process to end, and no longer than it takes: `Popen.wait` looks every 50 ms only."""
    try:
        end = os.pidfd_open(process.pid)
    except (AttributeError, OSError):  # not Linux, or no process any more
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        return
    try:
        poll = select.poll()
        poll.register(end, select.POLLIN)
        poll.poll(1000 * seconds)
    finally:
        os.close(end)


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the duel as Ctrl-C does, so that nothing is left behind."""

    def interrupt(number: int, _frame: object) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def refuse_unbuilt(baseline: Side, built: Sequence[str]) -> None:
    """Refuse a match of extension modules with what the merge base runs for want of them.

    Where each side is built by the same command and that built something at the merge base, what is lacking there is
    new, or was renamed. The merge base has no files but those in git and what the command made.

    Parameters
    ----------
    baseline
        The merge base's side.
    built
        The candidate's extension modules, by their paths in its tree.

    Raises
    ------
    SettingsError
        The merge base lacks one for want of building.
    """
    absent = [name for name in built if not (baseline.top / name).exists()]
    if absent and (baseline.venv is None or not any(baseline.top.rglob("*.so"))):
        raise SettingsError(
            f"the candidate side has extension modules that the baseline side lacks, for they are built and not in "
            f"git: {', '.join(absent[:5])}. The two would run different code for that alone.\n"
            f"{REMEDY if baseline.venv is None else REMEDY_INSIDE}"
        )


def plan(ready: Sequence[Ready], block: float) -> tuple[int, list[int]]:
    """Return the number of turns, and for each side the calls of a block, or its rounds where their number is fixed.

    Parameters
    ----------
    ready
        What the sides said of their calls.
    block
        Nanoseconds that a block should last.
    """
    paces = [max(reply.call, 1.0) for reply in ready if not reply.rounds]
    call = statistics.geometric_mean(paces) if paces else block
    calls = max(1, round(block / call))
    turns = max(FEWEST_TURNS, min(TURNS, round(TURNS * block / (calls * call))))
    turns += turns % 2
    if fixed := [reply.rounds for reply in ready if reply.rounds]:
        turns = min(rounds // math.ceil(rounds / TURNS) for rounds in fixed)
    return turns, [reply.rounds // turns or calls for reply in ready]


def _one_busy_thread(timed: Sequence[Timed]) -> bool:
    return live.one_busy_thread(
        [block.wall for block in timed],
        [block.cpu for block in timed],
        [block.delay for block in timed],
        [block.switches for block in timed],
    )


def _core(launch: int) -> int | None:
    """Return the core of a launch: each in its turn, so that no core's own troubles weigh on all launches."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    cores = sorted(os.sched_getaffinity(0))
    return cores[launch % len(cores)]


def _record(reports: Sequence[Mapping[str, Any]]) -> Case | None:
    carried = next((report[ON_REPORT] for report in reports if ON_REPORT in report), None)
    return msgspec.convert(carried["case"], Case) if carried else None


def _failure(reports: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the last line of what went wrong."""
    for report in reports:
        if report["outcome"] == "failed":
            text = report["longrepr"]
            crash = text.get("reprcrash") if isinstance(text, dict) else None
            said = crash["message"] if crash else str(text)
            return said.strip().splitlines()[0] if said.strip() else "no reason given"
    return None
