"""Every test that uses pytest-benchmark's fixture `benchmark` is a case, without a changed line.

While a laboratory is at work, the fixture's object becomes an `Adopted` one: its calls go through our instrument, in
operations, and what was timed is handed to pytest-benchmark, whose table, files and comparisons hold the same figures.
What the test sees stays: the result that it returns, the errors that come out, ``stats``, and in pedantic mode the
exact number of calls, since whoever counts them may have to.

In a duel the tests are played in its children, and there too the object is an `Adopted` one, with an instrument that
times in turns. Nothing is to be shown or saved by pytest-benchmark there: it would hold one launch of many.

Where our instrument has nothing to say (under coverage, or where a call leaves a generator), pytest-benchmark times as
it always does. Under xdist pytest-benchmark is disabled, shows and saves nothing, and the instrument measures. Where
``--benchmark-disable`` was asked for, nobody measures; pytest-codspeed asks for it when it measures itself, and brings
a `benchmark` of its own, which is left alone.

Two methods of pytest-benchmark that its documentation does not name are overridden: ``_raw`` and ``_raw_pedantic``,
which `BenchmarkFixture` calls once it has seen to it that it is used once (seen in version 5.3).
"""

from __future__ import annotations

import contextlib
import functools
import gc
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from pytest_supervm.cases import FIXTURES
from pytest_supervm.measure.blocks import SECOND
from pytest_supervm.measure.instrument import Instrument, MeasureError

HEADER = (
    "supervm: tests with the fixture `benchmark` are cases too, timed by supervm: its options for time stand in place "
    "of --benchmark-max-time, -min-time, -min-rounds, -precision, -warmup, -timer and -cprofile"
)
LIVE = (
    "supervm: tests with the fixture `benchmark` duel too, timed by supervm; pytest-benchmark's own options for time, "
    "and its table, files and comparisons, have no part in a duel"
)
DISABLED = (
    "supervm: --benchmark-disable is set: tests with the fixture `benchmark` are not measured "
    "(--benchmark-enable undoes it)"
)
CODSPEED = (
    "supervm: pytest-codspeed is on and takes the fixture `benchmark` for itself: supervm does not measure such tests "
    "(leave --codspeed out, or CODSPEED_ENV, and it does)"
)


class Adoption:
    """The hooks that turn pytest-benchmark's tests into cases.

    Parameters
    ----------
    config
        pytest's configuration.
    instrument
        Returns the instrument for one test's case.
    live
        Whether this invocation is part of a duel.
    """

    def __init__(
        self, config: pytest.Config, instrument: Callable[[pytest.Item], Instrument], *, live: bool = False
    ) -> None:
        codspeed = getattr(config.pluginmanager.get_plugin("codspeed_plugin"), "is_codspeed_enabled", False)
        disabled = config.getoption("benchmark_disable") and not config.getoption("benchmark_enable")
        self.disabled = codspeed or disabled
        self.header = CODSPEED if codspeed else DISABLED if disabled else LIVE if live else HEADER
        self.instrument = instrument

    @property
    def fixtures(self) -> frozenset[str]:
        """Fixtures that make a test a case."""
        return FIXTURES if self.disabled else FIXTURES | {"benchmark"}

    @pytest.hookimpl(trylast=True)
    def pytest_report_header(self) -> str:
        return self.header

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        found = yield
        if fixturedef.argname == "benchmark" and type(found) is BenchmarkFixture and not self.disabled:
            if "measure" in request.fixturenames:
                raise MeasureError(
                    "this test uses both `measure` and `benchmark`: a test is one case. Use one of them, or write two"
                )
            found.__class__ = Adopted
            vars(found)["instrument"] = self.instrument(request.node)
        return found


class Adopted(BenchmarkFixture):
    """pytest-benchmark's object behind the fixture `benchmark`, with our instrument inside."""

    instrument: Instrument

    def _raw(self, function_to_benchmark: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            with self._collector():
                self.instrument(functools.partial(function_to_benchmark, *args, **kwargs))
        except MeasureError as error:
            self.instrument.give_up(str(error))
        if self.instrument.timings is None:
            return super()._raw(function_to_benchmark, *args, **kwargs)  # type: ignore[no-untyped-call]
        self._hand_over()
        return function_to_benchmark(*args, **kwargs)  # a call more, as pytest-benchmark makes it

    def _raw_pedantic(
        self,
        target: Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        setup: Callable[[], Any] | None = None,
        teardown: Callable[..., Any] | None = None,
        rounds: int = 1,
        warmup_rounds: int = 0,
        iterations: int = 1,
    ) -> Any:
        if min(iterations, rounds, warmup_rounds + 1) < 1:
            raise ValueError("Must have positive int for `iterations`, `rounds` and `warmup_rounds`.")
        if iterations > 1 and setup:
            raise ValueError("Can't use more than 1 `iterations` with a `setup` function.")
        result: object = None

        def keep(call: Callable[[], object]) -> None:
            nonlocal result
            result = call()

        def prepare() -> tuple[Callable[[], object], Callable[[], object]]:
            with_args, with_kwargs = args, kwargs or {}
            made = setup() if setup else None
            if made:
                if args or kwargs:
                    raise TypeError("Can't use `args` or `kwargs` if `setup` returns the arguments.")
                with_args, with_kwargs = made

            call = functools.partial(target, *with_args, **with_kwargs)
            follow = functools.partial(teardown, *with_args, **with_kwargs) if teardown else lambda: None
            return (call if iterations > 1 else functools.partial(keep, call)), follow

        with self._collector():
            self.instrument.rounds(prepare, warm_up=warmup_rounds, count=rounds, calls=iterations)
        self._hand_over()
        if iterations > 1:  # a call more, as pytest-benchmark makes it
            call, follow = prepare()
            result = call()
            follow()
        return result

    @contextlib.contextmanager
    def _collector(self) -> Iterator[None]:
        """Keep the garbage collector off, if that was asked for."""
        enabled = gc.isenabled()
        if self._disable_gc:
            gc.disable()
        try:
            yield
        finally:
            if enabled:
                gc.enable()

    def _hand_over(self) -> None:
        """Give what was timed to pytest-benchmark, unless it is disabled."""
        timings = self.instrument.timings
        if self.disabled or timings is None:
            return
        stats = self._make_stats(1 if timings.stamped else timings.calls)  # type: ignore[no-untyped-call]
        for nanoseconds in timings.latencies if timings.stamped else timings.wall:
            stats.update(nanoseconds / SECOND)
