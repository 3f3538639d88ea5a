"""A child of the duel: a pytest that collects like its parent, and then runs and times what the parent says.

The child imports the laboratory from where the parent has it, so that the instrument is the same on both sides even
where the project under test is the laboratory; only then do the sources of its own tree come first on the path. It
tells the parent of every project module that came from elsewhere.

It never decides when to measure: between two turns it waits on its pipe, and when that closes it ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import hashlib
import inspect
import os
import random
import resource
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

import pytest_supervm
from pytest_supervm import cases, census
from pytest_supervm.duel.origins import Origins
from pytest_supervm.duel.wire import (
    Begin,
    Brief,
    Channel,
    Closed,
    Collected,
    Command,
    Done,
    Found,
    Ready,
    Timed,
    Turn,
)
from pytest_supervm.measure import blocks, clock, resources
from pytest_supervm.measure.instrument import Instrument
from pytest_supervm.model import Metric

QUIET = {
    "benchmark_autosave": False,
    "benchmark_compare": [],
    "benchmark_compare_fail": [],
    "benchmark_cprofile": None,
    "benchmark_histogram": [],
    "benchmark_json": None,
    "benchmark_save": None,
    "codspeed": False,
    "collectonly": False,
    "dist": "no",
    "durations": None,
    "failedfirst": False,
    "lf": False,
    "looponfail": False,
    "maxfail": 0,
    "newfirst": False,
    "numprocesses": None,
    "setuponly": False,
    "setupplan": False,
    "setupshow": False,
    "stepwise": False,
    "trace": False,
    "tx": [],
    "usepdb": False,
    "xmlpath": None,
}
"""What is the parent's business, or nobody's during a duel: options of pytest, xdist, pytest-benchmark and
pytest-codspeed in ``config.option``, with the values that turn it off."""

OVER = 64
"""Exit status of a child that has done its work. It is none of pytest's, which then sums nothing up: that can take
seconds, where plugins load what they need for their part."""

SMALL_SIZES = range(48 - 33, 512 - 32, 16)
"""Lengths of bytes, which take 33 more, that together are one of each size class of the interpreter's own allocator,
but for the two smallest: those of plain objects and of short integers."""

MOST_OF_A_SIZE = 512
"""So many small objects fill a pool of that allocator, or several: where in it the next one lies is any place."""

LARGER = (600, 1 << 16)
"""Bytes of a block that the C library's allocator takes from its heap, and does not map by itself."""

PR_SET_PDEATHSIG = 1
"""Option of prctl (man 2 prctl): the signal that this process gets when its parent dies."""


def main(reading: int, writing: int) -> None:
    """Be a child: take the brief, run pytest, and exit with its status.

    Parameters
    ----------
    reading, writing
        Inherited file descriptors of the pipes.
    """
    for fd in (reading, writing):
        os.set_inheritable(fd, False)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    pytest_supervm.__doc__ = "PYTEST_DONT_REWRITE"  # else pytest warns that it came too late for that
    channel = Channel(reading, writing, Command)
    brief = channel.receive()
    held = shaken()
    status = pytest.main(brief.args, plugins=[Child(channel, brief)])
    del held
    sys.exit(status)


def shaken() -> list[object]:
    """Let chance decide where the next objects lie, and return what must be held for it.

    The allocator is deterministic: each launch of a side lays its objects out alike, to the byte within a page, and the
    other side, whose path has a folder more, lays out some of them otherwise. That was worth two percent to a loop over
    integers, in all launches alike: their spread does not show it, and equal code was called slower beyond doubt. Where
    it is drawn anew for every launch and case, layout is a part of the launch's luck, which is averaged, and which the
    interval knows (C. Curtsinger and E. D. Berger, "Stabilizer: statistically sound performance evaluation", ASPLOS
    2013).

    For each size of small objects, some are made and half of them freed in any order; and one larger block shifts what
    the C library hands out.
    """
    lot = random.Random(int.from_bytes(os.urandom(8), "little"))  # the system's own would take ten times as long
    held: list[object] = [bytearray(lot.randrange(*LARGER))]
    makers: list[Callable[[], object]] = [object, functools.partial(lot.getrandbits, 40)]
    makers += (functools.partial(bytes, size) for size in SMALL_SIZES)
    for make in makers:
        made = [make() for _ in range(lot.randrange(MOST_OF_A_SIZE))]
        lot.shuffle(made)
        held += made[len(made) // 2 :]
    return held


class Child:
    """The plugin that makes a pytest a child of the duel."""

    def __init__(self, channel: Channel, brief: Brief) -> None:
        self.channel = channel
        self.brief = brief
        self.only: list[str] = []
        self.broken: dict[str, str] = {}
        self.reports: list[dict[str, Any]] = []
        self.fixtures = cases.FIXTURES
        self.origins = Origins(brief)

    # Collecting like the parent.

    @pytest.hookimpl(wrapper=True)
    def pytest_cmdline_parse(self) -> Generator[None, pytest.Config, pytest.Config]:
        config = yield
        for name in vars(config.option):
            if name in QUIET:
                setattr(config.option, name, QUIET[name])
            elif name.startswith("supervm"):
                setattr(config.option, name, None)
        if getattr(config.option, "randomly_seed", None) == "default":  # pytest-randomly: equal data on both sides
            config.option.randomly_seed = int(os.environ["PYTHONHASHSEED"])
        config.args = list(self._places(config))
        return config

    def _places(self, config: pytest.Config) -> Iterator[str]:
        """Yield the arguments that exist on this side; a single test becomes its file, and is picked out later."""
        for argument in config.args:
            path, separator, _ = argument.partition("::")
            if not (config.invocation_params.dir / path).exists() and not config.option.pyargs:
                continue
            if separator:
                relative = os.path.relpath(config.invocation_params.dir / path, config.rootpath)
                self.only.append(Path(relative).as_posix() + argument[len(path) :])
            else:
                self.only.append("")
            yield path

    def pytest_configure(self, config: pytest.Config) -> None:
        self.config = config
        config.stash[cases.INSTRUMENTS] = self
        if cases.has_pytest_benchmark(config):
            from pytest_supervm.adopt import Adoption

            adoption = Adoption(config, self.instrument, live=True)
            self.fixtures = adoption.fixtures
            config.pluginmanager.register(adoption, "supervm-adoption")

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if any(_within(item.nodeid, place) for place in self.only)]

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        report = yield
        if report.failed:
            self.broken[collector.nodeid] = str(report.longrepr).strip().splitlines()[-1]
            call: pytest.CallInfo[object] | None = getattr(report, "call", None)
            cause = call.excinfo.value.__cause__ if call and call.excinfo else None
            if isinstance(cause, ImportError) and cause.name:
                self.origins.unimportable[cause.name] = f"cannot be imported ({cause})"
        return report

    # Running what the parent says.

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        items = {item.nodeid: item for item in session.items if census.asks_for(item, self.fixtures)}
        gc.collect()
        gc.freeze()  # what stays for good, so that collections between cases need not look at it
        with contextlib.suppress(Closed):
            self.channel.send(Collected([_found(item) for item in items.values()], self.broken, *self.origins()))
            while True:
                command = self.channel.receive()
                self.reports = []
                item, following = items[command.nodeid], items.get(command.following)
                session.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                self.channel.send(Done(self.reports, *self.origins()))
        pytest.exit("the duel is over", returncode=OVER)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        cases.attach(item, report)
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.reports.append(self.config.hook.pytest_report_to_serializable(config=self.config, report=report))

    def instrument(self, item: pytest.Item) -> Instrument:
        """Return the instrument for one test's case."""
        item.stash[cases.MEASURE] = instrument = Contender(self.channel, self.brief.block, self.brief.metrics)
        return instrument


class Contender(Instrument):
    """Measures as any instrument does, but for the blocks, which it times in turns with the other side."""

    def __init__(self, channel: Channel, block: float, metrics: dict[str, Metric]) -> None:
        super().__init__(least=0, most=0, metrics=metrics)
        self._channel = channel
        self._block = block

    def _time(self, call: blocks.Work, setup: blocks.Work | None, progress: blocks.Progress) -> blocks.Timings:
        del progress  # the parent knows it better
        held = shaken()
        with resources.settled_heap() as collector, _affinity() as pin:
            cpu, wall, delay = clock.cpu(), clock.wall(), resources.run_delay() or 0
            pace = blocks.calibrate(call, setup, self._block, 4 * self._block)
            busy = clock.cpu() - cpu + (resources.run_delay() or 0) - delay
            self._say(Ready(pace.call, busy / (clock.wall() - wall)))
            command = self._hear()
            timings = blocks.Timings(1, stamped=setup is not None)
            if isinstance(command, Begin):
                pin(command.core)
                made = command.calls + command.extra
                timings = blocks.Timings(made, stamped=command.stamped or setup is not None)
                if made > 1:  # once more, warm, and where the other blocks will be
                    blocks.timed_block(call, setup, blocks.Timings(made, timings.stamped))()
                self._say(Ready(pace.call, 1))
                while isinstance(self._hear(), Turn):
                    self._say(_timed(blocks.timed_block(call, setup, timings), timings.wall, timings.cpu))
                timings.calls = command.calls  # each block is booked as that many, however many it made
            if not timings.wall:
                blocks.timed_block(call, setup, timings)()
        del held
        self._describe(timings, collector)
        return timings

    def _time_rounds(
        self, prepare: Callable[[], tuple[blocks.Work, blocks.Work]], count: int, calls: int, progress: blocks.Progress
    ) -> blocks.Timings:
        """Play the rounds in turns, several at a time; what does not fill a turn, or has no opponent, comes last."""
        del progress
        wall: list[int] = []
        cpu: list[int] = []
        play = blocks.timed_round(prepare, calls, wall, cpu)
        turns, together = 1, count
        held = shaken()
        with resources.settled_heap() as collector, _affinity() as pin:
            self._say(Ready(0, 0, count))
            command = self._hear()
            if isinstance(command, Begin):
                pin(command.core)
                turns, together = 0, command.calls
                self._say(Ready(0, 0, count))
                while isinstance(self._hear(), Turn):
                    turns += 1
                    self._say(_timed(lambda: [play() for _ in range(together)], wall, cpu))
            for _ in range(count - len(wall)):
                play()
        del held
        timings = blocks.grouped(wall, cpu, calls=calls, together=together, count=turns)
        self._describe(timings, collector)
        return timings

    def _describe(self, timings: blocks.Timings, collector: str) -> None:
        super()._describe(timings, collector)
        self.conditions["blocks"] += ", in turns with the other side"

    def _say(self, reply: Ready | Timed) -> None:
        with _or_leave():
            self._channel.send(reply)

    def _hear(self) -> Command:
        with _or_leave():
            command: Command = self._channel.receive()
            return command


@contextlib.contextmanager
def _or_leave() -> Iterator[None]:
    """End pytest, fixtures and all, when nobody listens any more."""
    try:
        yield
    except Closed:
        pytest.exit("the laboratory has gone", returncode=pytest.ExitCode.INTERRUPTED)


@contextlib.contextmanager
def _affinity() -> Iterator[Callable[[int | None], None]]:
    """Let the work be pinned to one core, and free it again."""
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None

    def pin(core: int | None) -> None:
        if core is not None:
            os.sched_setaffinity(0, {core})

    try:
        yield pin
    finally:
        if before is not None:
            os.sched_setaffinity(0, before)


def _timed(block: blocks.Work, wall: list[int], cpu: list[int]) -> Timed:
    """Time a block, which keeps its own times, and watch what the scheduler made of it."""
    first = len(wall)
    switches, delay = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw, resources.run_delay() or 0
    block()
    waited = (resources.run_delay() or 0) - delay
    switches = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - switches
    return Timed(sum(wall[first:]), sum(cpu[first:]), waited, switches)


def _found(item: pytest.Item) -> Found:
    """Describe a test; its source is what is written, decorators included, without its indentation."""
    try:
        source = inspect.getsource(inspect.unwrap(item.function))  # type: ignore[attr-defined]  # else AttributeError
    except (AttributeError, OSError, TypeError):
        source = ""
    text = "\n".join(line.strip() for line in source.splitlines())
    markers = [dict(marker.kwargs) for marker in item.iter_markers("supervm")]
    return Found(item.nodeid, cases.location(item), hashlib.sha256(text.encode()).hexdigest()[:16], markers)


def _within(nodeid: str, place: str) -> bool:
    """Tell whether a test is the place, or lies in it."""
    return nodeid == place or nodeid.startswith((f"{place}::", f"{place}[")) or not place
