"""One run, from settings to gate: what is measured, judged, kept and shown, in that order.

A `Laboratory` lives for one pytest invocation. In the process that runs the tests it hands out instruments and turns
what they hold into cases, which travel on the test reports: so a test may run in this process or in a worker. In the
process that the user started it gathers the reports and, at the end, concludes.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import pytest

from pytest_supervm import rules
from pytest_supervm.baselines import BaselineError, check_name, open_store
from pytest_supervm.cases import FIXTURES, MEASURE, ON_REPORT, attach, has_pytest_benchmark, location
from pytest_supervm.census import NOT_RUN, Census, asks_for, is_whole, scope
from pytest_supervm.judge import gate
from pytest_supervm.judge.confirm import confirm, doubtful
from pytest_supervm.judge.policy import DEFAULTS, NO_POLICY, Policy, PolicyError, merge, read
from pytest_supervm.measure import provenance
from pytest_supervm.measure.instrument import Instrument
from pytest_supervm.measure.quantiles import QUANTILES
from pytest_supervm.measure.turnstile import Turnstile, TurnstileError, Visit
from pytest_supervm.model import (
    SCHEMA,
    STANDARD_METRICS,
    Against,
    Case,
    Changes,
    Family,
    Gate,
    History,
    Location,
    Metric,
    Results,
    Row,
    Run,
    Verdict,
)
from pytest_supervm.report import files, terminal
from pytest_supervm.report import selfcheck as checks
from pytest_supervm.report.progress import Progress
from pytest_supervm.report.wording import count, moment
from pytest_supervm.ring import Ring
from pytest_supervm.settings import Settings, SettingsError, as_text
from pytest_supervm.units import base_unit

if TYPE_CHECKING:
    from pytest_supervm.duel.checkout import Opponent
    from pytest_supervm.duel.match import Match
    from pytest_supervm.judge.live import Policies

VISIT = pytest.StashKey[Visit]()
"""On a test item while it runs: its stay in the room that measurements have to themselves."""

UNFORESEEN = "a duel measures tests that name the fixture `measure` or `benchmark` in their signature: name it there"

CODSPEED = (
    "supervm: pytest-codspeed's fixture `benchmark` calls a function once: to have such tests measured here, install "
    "pytest-benchmark"
)

BUSY = 0.05
"""Share of time spent waiting for a core from which on a reader is told."""

MARKUP: dict[terminal.Style, dict[str, bool]] = {
    "plain": {},
    "good": {"green": True},
    "warn": {"yellow": True},
    "bad": {"red": True, "bold": True},
    "dim": {"light": True},
    "bold": {"bold": True},
}

PolicyTable = Mapping[str, Mapping[str, object]]
T = TypeVar("T")


class Laboratory:
    """One invocation's state.

    Parameters
    ----------
    config
        pytest's configuration.
    settings
        What was asked for.

    Raises
    ------
    SettingsError
        A policy, a declared metric or the store cannot be used.
    BaselineError
        The baseline to judge against does not exist or cannot be read.
    """

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self.config = config
        self.rules = rules.of(settings, config.rootpath)
        self.settings = settings = self.rules.settings
        self.started = datetime.datetime.now(datetime.UTC)
        self.census = Census()
        self.fixtures = FIXTURES
        self.measured: dict[str, tuple[Case, PolicyTable]] = {}
        self.results: Results | None = None
        self.written: list[str] = []
        self.failures: list[str] = []
        self.mistakes: dict[str, str] = {}
        self.shut_out: dict[str, str] = {}
        self.metrics = STANDARD_METRICS | _declared(settings.metrics)
        self.policy = _sound(lambda: merge(DEFAULTS, settings.policy))
        self.policies(self.policy)
        self.turnstile = _turnstile(settings.wait)
        self.postponed: dict[str, tuple[Location, PolicyTable]] = {}
        self.match: Match | None = None
        self.ring = Ring(config, settings, self.metrics, self.turnstile)
        self.store = open_store(settings.store, config.rootpath)
        if settings.save is not None:
            check_name(settings.save)
        self.history: History | None = None
        self.opponent: Opponent | None = None
        if is_worker(config):
            return
        if settings.kept is not None:
            self.history = self.rules.history(config.rootpath) or self.store.load(settings.kept)
        if settings.ref is not None:
            from pytest_supervm.duel import checkout

            self.opponent = checkout.find(config.rootpath, settings.ref)

    def header(self) -> list[str]:
        """Say at the top of the output what this invocation does."""
        against = kept = ""
        if self.history is not None:
            against, kept = f", judged against {self.history.name!r}", f" ({count(len(self.history.runs), 'kept run')})"
            if self._is_a_branch_too(self.history.name):
                kept += f"; the branch of that name is git:{self.history.name}"
        if self.opponent is not None:
            against = f", live against {self.settings.baseline}, at the merge base {self.opponent.commit[:7]}"
        if (check := self.settings.self_check) is not None:
            against = f", then the suite against itself for {check:g} s"
        least = self.settings.least if self.opponent is None else self.settings.duel_least
        lines = [f"supervm: measuring, at least {least:g} s a case{against}{kept}"]
        if self.config.pluginmanager.hasplugin("codspeed") and not has_pytest_benchmark(self.config):
            lines.append(CODSPEED)
        if isinstance(self.turnstile, TurnstileError):
            lines.append(f"supervm: nothing keeps other measurements away from these: {self.turnstile}")
        return lines

    def _is_a_branch_too(self, name: str) -> bool:
        from pytest_supervm.duel import checkout

        return checkout.is_commit(self.config.rootpath, f"refs/heads/{name}")

    # While tests are found.

    def check_marker(self, item: pytest.Item) -> None:
        """Read the policies of one test, so that a mistake is told before anything is measured.

        Raises
        ------
        pytest.UsageError
            The marker names something unknown; the message says in which test and lists what is known. A worker cannot
            end the invocation: there the test fails with the message, and the controller ends with a usage error.
        """
        try:
            self.policies(self.policy_of(item))
        except SettingsError as error:
            mistake = f"{item.nodeid}: @pytest.mark.supervm: {error}"
            if not is_worker(self.config):
                raise pytest.UsageError(mistake) from None
            self.mistakes[item.nodeid] = mistake

    def policy_of(self, item: pytest.Item) -> PolicyTable:
        """Return the policy table of one test: the nearest marker's words stand over those of outer ones."""
        markers = list(item.iter_markers("supervm"))
        for marker in markers:
            if marker.args:
                raise SettingsError(f'it takes policies by name, throughput={{"block": "3%"}}, not {marker.args[0]!r}')
        return _sound(lambda: merge(self.policy, *(marker.kwargs for marker in reversed(markers))))

    def policies(self, table: PolicyTable) -> dict[str, Policy]:
        """Read a policy table."""
        return _sound(lambda: read(table, self.metrics))

    # While tests run.

    @contextlib.contextmanager
    def admit(self, item: pytest.Item) -> Iterator[None]:
        """Let a test in when nobody measures; where that cannot be had it is refused at its set-up."""
        with contextlib.ExitStack() as stack:
            if isinstance(self.turnstile, Turnstile):
                try:
                    item.stash[VISIT] = stack.enter_context(self.turnstile.visit())
                except (TurnstileError, OSError) as error:
                    self.shut_out[item.nodeid] = f"this test must not run beside a measurement, and {error}"
            yield

    def refuse(self, item: pytest.Item) -> None:
        """Fail a test whose marker cannot be read, or that was not let in."""
        if item.nodeid in self.shut_out:
            pytest.fail(self.shut_out.pop(item.nodeid), pytrace=False)
        if item.nodeid in self.mistakes:
            pytest.fail(self.mistakes[item.nodeid], pytrace=False)

    def instrument(self, item: pytest.Item) -> Instrument:
        """Return the instrument for one test's case."""
        judged = [name for name, policy in self.policies(self.policy_of(item)).items() if policy != NO_POLICY]
        instrument = Instrument(
            least=self.settings.least,
            most=self.settings.max_time,
            wanted=[QUANTILES[name] for name in judged if name in QUANTILES],
            metrics=self.metrics,
            obstacle=self._obstacle() if self.settings.ref is None else UNFORESEEN,
            alone=visit.alone(item.nodeid) if (visit := item.stash.get(VISIT, None)) else None,
            beside=self._beside(),
            progress=Progress(self.config, item.nodeid),
        )
        item.stash[MEASURE] = instrument
        return instrument

    def _beside(self) -> str | None:
        """Say why a test that runs in the crowd, outside of `measure`, cannot take times itself."""
        workers = self.config.workerinput["workercount"] if is_worker(self.config) else 1  # type: ignore[attr-defined]
        if workers > 1:
            return f"it was not taken in a call of measure(), and {workers} workers ran beside each other: use -n 0"
        return None

    def _obstacle(self) -> str | None:
        """Say why nothing can be measured: several workers need a turnstile, one process does well without."""
        if isinstance(self.turnstile, TurnstileError) and self._beside():
            return f"workers beside each other would have measured each other: use -n 0, for {self.turnstile}"
        return None

    def select(self, items: Iterable[pytest.Item]) -> None:
        """Take the tests that are going to run; with a duel, those that measure are left to its children."""
        for item in items:
            self.census.select([item.nodeid])
            duels = self.settings.ref is not None and asks_for(item, self.fixtures)
            if duels and item.nodeid not in self.mistakes:
                self.postponed[item.nodeid] = location(item), self.policy_of(item)

    def is_postponed(self, item: pytest.Item) -> bool:
        """Tell whether a test is left to the duel."""
        return item.nodeid in self.postponed

    def duel(self) -> None:
        """Play the match, once the ordinary tests are done: the whole gate, or what kept runs leave in doubt.

        Raises
        ------
        SettingsError
            The other side cannot be checked out or run, or loads what is not its own.
        TurnstileError
            Somebody else measures and does not come to an end.
        """
        if self.config.option.collectonly or is_worker(self.config):
            return
        if self.opponent is not None and self.postponed:
            policies = {nodeid: self.policies(table) for nodeid, (_, table) in self.postponed.items()}
            self.match = self.ring.play(self.opponent, policies, self._replay, self._old_policies)
        elif self.history is not None and self.settings.confirms:
            self._confirm()

    def _confirm(self) -> None:
        """Let a duel decide what kept runs leave in doubt; where it cannot be played, their verdict stands."""
        from pytest_supervm.duel import checkout

        rows, _ = self._kept_verdict
        doubts = {case_id for case_id, _ in doubtful(rows)}
        policies = {
            nodeid: self.policies(table) for nodeid, (case, table) in self.measured.items() if case.id in doubts
        }
        if not policies:
            return
        clean = [run.commit.id for run in self.history.runs if run.commit and not run.commit.dirty]  # type: ignore[union-attr]
        try:
            if not clean:
                raise SettingsError("no kept run is of a clean commit, and a duel needs one to check out")
            opponent = checkout.at(self.config.rootpath, clean[-1])
            self.match = self.ring.play(opponent, policies, _show_nothing, self._old_policies)
            self.opponent = opponent
        except (SettingsError, TurnstileError) as error:
            self.ring.remarks.append(f"the verdict of the kept runs was not confirmed live: {error}")

    def check_itself(self) -> None:
        """Play matches of the suite against itself, once it has been measured.

        Raises
        ------
        SettingsError
            The sides cannot be run, or load what is not in the tree.
        """
        if self.settings.self_check is None or not self.measured or self.config.option.collectonly:
            return
        if not is_worker(self.config):
            self.ring.rehearse({nodeid: self.policies(table) for nodeid, (_, table) in self.measured.items()})

    @property
    def _old_policies(self) -> Callable[[Sequence[Mapping[str, Any]]], Policies] | None:
        """What reads the policies of a test from its markers at the merge base; None where this tree's count."""

        def by_markers(markers: Sequence[Mapping[str, Any]]) -> Policies:
            return self.policies(_sound(lambda: merge(self.policy, *reversed(markers))))

        return by_markers if self.rules.base is not None else None

    def _replay(self, data: dict[str, Any]) -> None:
        """Show a report that a child sent as if its test had run here."""
        hook = self.config.hook
        plain = {key: value for key, value in data.items() if key != ON_REPORT}
        report = hook.pytest_report_from_serializable(config=self.config, data=plain)
        if report.when == "setup":
            hook.pytest_runtest_logstart(nodeid=report.nodeid, location=report.location)
        hook.pytest_runtest_logreport(report=report)
        if report.when == "teardown":
            hook.pytest_runtest_logfinish(nodeid=report.nodeid, location=report.location)

    def attach(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Put what a passed test measured on its report."""
        if MEASURE in item.stash:
            attach(item, report, policy=self.policy_of(item))

    def gather(self, report: pytest.TestReport) -> None:
        """Take a test's outcome, and what it measured unless it failed."""
        self.census.take(report)
        if (carried := getattr(report, ON_REPORT, None)) is not None:
            self.measured[report.nodeid] = msgspec.convert(carried["case"], Case), carried["policy"]
        if report.failed:
            self.measured.pop(report.nodeid, None)

    # When all is done.

    def from_worker(self, output: Mapping[str, Any]) -> None:
        """Take what an xdist worker found; a worker that crashed sends nothing."""
        if ON_REPORT in output:
            self.census.receive(output[ON_REPORT]["census"])
            self.mistakes.update(output[ON_REPORT]["mistakes"])
            self.postponed |= msgspec.convert(
                output[ON_REPORT]["postponed"], dict[str, tuple[Location, dict[str, Any]]]
            )

    def finish(self, status: int) -> int:
        """End the invocation and return pytest's exit status after the gate: what passed may still be blocked."""
        if self.config.option.collectonly:
            return status
        if is_worker(self.config):
            found = {
                "census": self.census.send(),
                "mistakes": self.mistakes,
                "postponed": msgspec.to_builtins(self.postponed),
            }
            self.config.workeroutput[ON_REPORT] = found  # type: ignore[attr-defined]
            return status
        if self.mistakes:
            return pytest.ExitCode.USAGE_ERROR
        if status in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.INTERNAL_ERROR):
            return status
        results = self.conclude(interrupted=status == pytest.ExitCode.INTERRUPTED)
        if status not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            return status
        fails = {Gate.BLOCK, Gate.WARN, Gate.INCONCLUSIVE} if self.settings.strict else {Gate.BLOCK}
        return pytest.ExitCode.TESTS_FAILED if results.gate in fails or self.failures else status

    def conclude(self, *, interrupted: bool) -> Results:
        """Judge, keep and write what was measured; what goes wrong on the way becomes a sentence in `failures`."""
        run = self._run
        if self.settings.self_check is not None and run.self_check is None and not interrupted:
            why = "no gate came to its end" if self.measured else "nothing was measured"
            self.failures.append(f"the self-check did not take place: {why}")
        results = self.results = self._judge(run, interrupted=interrupted)
        if self.settings.save is not None:
            self._save(self.settings.save, results, interrupted=interrupted)
        if (path := self.settings.json) is not None:
            self._write(path, lambda: files.write_json(results, path))
        if (page := self.settings.report) is not None:
            self._write(page, lambda: files.write_html(results, self.history, page))
        return results

    def show(self, reporter: pytest.TerminalReporter) -> None:
        """Write the terminal section, when there is something to say."""
        if self.results is None or not (self.results.cases or self.settings.baseline or self.failures):
            return
        reporter.write_sep("=", "supervm")
        width = max(reporter._tw.fullwidth, terminal.WIDTH)
        for line in terminal.lines(self.results, verbose=self.config.option.verbose > 0, width=width):
            reporter.write_line(line.text, **MARKUP[line.style])
        for place in self.written:
            reporter.write_line(f"wrote {place}")
        for failure in self.failures:
            reporter.write_line(failure, **MARKUP["bad"])

    @functools.cached_property
    def _run(self) -> Run:
        """What was measured; asked for when no further test will run."""
        root = self.config.rootpath
        return Run(
            schema=SCHEMA,
            id=provenance.run_id(self.started),
            time=self.started.isoformat(timespec="seconds"),
            machine=provenance.machine(),
            cases=(*(self.match.cases() if self.match and self.settings.ref else ()), *self._cases()),
            commit=provenance.commit(root, root / self.settings.store),
            packages=dict(sorted({**provenance.packages(), **self.ring.packages}.items())),
            calibration=provenance.calibration(),
            settings=as_text(self.settings),
            scope=scope(self.config) if is_whole(self.config) else (),
            deselected=tuple(sorted(self.census.deselected_measuring)),
            self_check=self.ring.rehearsal.found() if self.ring.rehearsal else None,
        )

    def _cases(self) -> tuple[Case, ...]:
        """Return what was measured in this process and its workers, in the order of collection."""
        return tuple(self.measured[nodeid][0] for nodeid in self.census.outcomes if nodeid in self.measured)

    def _judge(self, run: Run, *, interrupted: bool) -> Results:
        rows, family = self._rows()
        verdict, reason = gate.decide(rows, baseline=self.settings.baseline)
        if interrupted:
            cause = "some files could not be collected" if self.census.broken else "the run was interrupted"
            verdict, reason = Gate.INCONCLUSIVE, f"{cause}: what was measured is shown and not judged"
            rows = tuple(msgspec.structs.replace(row, action=None) for row in rows)
            family = Family(0, self.settings.level)
        return Results(
            schema=SCHEMA,
            gate=verdict,
            reason=reason,
            family=family,
            run=run,
            cases=rows,
            baseline=self._against(run),
            not_selected=sum(row.verdict is Verdict.NOT_SELECTED for row in rows),
            notes=tuple(self._notes(run)),
            changes=self._changes(run),
        )

    def _changes(self, run: Run) -> Changes | None:
        """Find where the history changed, this run included."""
        if self.history is None:
            return None
        from pytest_supervm.judge import changes  # brings NumPy, which must not be in memory while tests are measured

        wanted = {
            case.id: [name for name, policy in self.policies(table).items() if policy != NO_POLICY]
            for case, table in self.measured.values()
        }
        return changes.find([*(kept for kept in self.history.runs if kept.id != run.id), run], wanted)

    def _rows(self) -> tuple[tuple[Row, ...], Family]:
        selection = self.census.selection(self.config)
        if self.settings.ref is not None:
            rows, family = self.match.judge(selection) if self.match else ((), Family(0, self.settings.level))
            known = {row.id for row in rows}
            missed = (
                Row(id=nodeid, location=where, verdict=Verdict.ERRORED, reason="the run stopped before its test")
                for nodeid, (where, _) in self.postponed.items()
                if nodeid not in known and selection.outcomes.get(nodeid) == NOT_RUN
            )
            foreign = (
                Row(id=case.id, location=case.location, verdict=Verdict.UNMEASURED, reason=UNFORESEEN)
                for case in self._cases()
            )
            return (*missed, *rows, *foreign), family
        rows, family = self._kept_verdict
        if self.match is not None and self.opponent is not None:
            live, _ = self.match.judge(selection)
            rows = confirm(rows, live, self.opponent.commit[:7])
        return rows, family

    @functools.cached_property
    def _kept_verdict(self) -> tuple[tuple[Row, ...], Family]:
        """What kept runs say of this run, before any duel."""
        from pytest_supervm.judge import stored  # brings SciPy, which must not be in memory while tests are measured

        policies = {case.id: self.policies(table) for case, table in self.measured.values()}
        selection = self.census.selection(self.config)
        return stored.judge(self._run, self.history, policies, selection, self.settings.level)

    def _against(self, run: Run) -> Against | None:
        commit = self.opponent.commit if self.opponent else None
        launches = self.match.launches if self.match else 0
        if self.settings.ref is not None:
            return Against(name=f"git:{self.settings.ref}", commit=commit, launches=launches)
        if self.history is None:
            return None
        return Against(
            name=self.history.name,
            runs=len(self.history.runs),
            runs_of_this_machine=sum(kept.machine == run.machine for kept in self.history.runs),
            damaged=self.history.damaged,
            commit=commit,
            launches=launches,
        )

    def _notes(self, run: Run) -> Iterable[str]:
        """Say what a reader of the verdict must know about the baseline and the machine."""
        yield from self.rules.notes
        yield from self.ring.remarks
        if self.match is not None:
            yield from self.match.notes()
        kept = self.history.runs if self.history else ()
        here = [known for known in kept if known.machine == run.machine]
        if kept and not here:
            differences = "; ".join(kept[-1].machine.differences(run.machine))
            yield (
                f"no kept run is from this machine ({differences}): keep runs of this one with "
                f"--supervm-save={self.settings.kept}"
            )
        for known in here[::-1]:
            if known.self_check is not None:
                yield f"self-check of {moment(known.time)}: {checks.worth(known.self_check)}"
                break
        before = here[-1].settings if here else run.settings
        changed = [
            f"{name} {was} -> {run.settings.get(name)}" for name, was in before.items() if was != run.settings.get(name)
        ]
        if changed:
            yield f"the newest kept run was measured with other settings: {', '.join(changed)}"
        for case in run.cases:
            waited = case.get("run_delay")
            if waited is not None and (share := waited.value or 0.0) > BUSY:
                yield f"{case.id}: the machine was busy: the test waited for a core {share:.0%} of the time"

    def _save(self, name: str, results: Results, *, interrupted: bool) -> None:
        if reason := self._why_not_saved(results, interrupted=interrupted):
            self.failures.append(f"this run was not added to the baseline {name!r}: {reason}")
            return
        try:
            self.store.append(name, results.run)
            self.written.append(f"this run to the baseline {name!r}")
        except BaselineError as error:
            self.failures.append(f"{error}. {_rescue(results.run, name)}")

    def _why_not_saved(self, results: Results, *, interrupted: bool) -> str | None:
        if interrupted:
            return "it was interrupted"
        if unfinished := self.census.unfinished():
            return f"{count(unfinished, 'test')} failed or did not run, and a baseline must be whole"
        if not any(case.measured for case in results.run.cases):
            return "nothing was measured"
        if results.gate is Gate.BLOCK:
            return (
                f"the gate blocks. To accept these figures, save runs of them without --supervm-baseline and drop the "
                f"older ones: supervm baseline prune {self.settings.save} --keep N"
            )
        return None

    def _write(self, path: Path, write: Callable[[], None]) -> None:
        try:
            write()
            self.written.append(str(path))
        except files.ReportError as error:
            self.failures.append(str(error))


def _show_nothing(_report: dict[str, Any]) -> None:
    """Take a report of a test that has run in this process too, and was shown then."""


def is_worker(config: pytest.Config) -> bool:
    """Tell whether this process is one of xdist's workers: it measures, and its controller concludes."""
    return hasattr(config, "workerinput")


def _turnstile(patience: float) -> Turnstile | TurnstileError:
    """Return the turnstile, or why there is none."""
    try:
        return Turnstile(patience)
    except TurnstileError as error:
        return error


def _declared(table: Mapping[str, object]) -> dict[str, Metric]:
    """Read ``[tool.supervm.metrics]``: the project's own metrics."""
    metrics = {}
    for name, keys in table.items():
        if name in STANDARD_METRICS:
            raise SettingsError(f"[tool.supervm.metrics]: {name!r} is a standard metric and cannot be declared anew")
        if (
            not isinstance(keys, Mapping)
            or set(keys) != {"unit", "better"}
            or keys["better"] not in ("lower", "higher")
        ):
            raise SettingsError(
                f'[tool.supervm.metrics]: {name} must read {{ unit = "ratio", better = "lower" }} '
                f'(or "higher"), not {keys!r}'
            )
        metrics[name] = Metric(name, base_unit(str(keys["unit"])), keys["better"])
    return metrics


def _sound(read_it: Callable[[], T]) -> T:
    """Turn a mistake in a policy into a mistake in the settings."""
    try:
        return read_it()
    except PolicyError as error:
        raise SettingsError(str(error)) from None


def _rescue(run: Run, name: str) -> str:
    """Keep a run that its store could not take, and say where it is."""
    try:
        with tempfile.NamedTemporaryFile("wb", prefix="supervm-unsaved-", suffix=".jsonl", delete=False) as file:
            file.write(msgspec.json.encode(run) + b"\n")
    except OSError as error:
        return f"The run could not be kept elsewhere either: {error}"
    return f"The run is kept in {file.name}: append that line to {name}.jsonl"
