"""One case: what a test author gets back, what is kept, and what is refused."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import sys
from collections.abc import Callable
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pytest_supervm.measure import observers, quantiles, resources
from pytest_supervm.measure.instrument import Instrument, Measure, MeasureError

from .conftest import MS, US, S, Time

pytestmark = pytest.mark.usefixtures("unobserved")

QUANTILE_NAMES = set(quantiles.QUANTILES)
MEASURED = {"throughput", "cpu_time", "peak_memory", "run_delay"} | QUANTILE_NAMES


@pytest.fixture
def instrument(time: Time) -> Instrument:  # noqa: ARG001  # it must stand still before the instrument is used
    """An instrument that asks for a second, on a clock that moves only when told to."""
    return Instrument(least=1.0, most=15.0, wanted=[0.99])


@pytest.fixture(params=[Measure, lambda: Instrument(least=0.001, most=0.002)], ids=["calling once", "measuring"])
def measure(request: pytest.FixtureRequest) -> Measure:
    """What a test gets without a ``--supervm`` option, then with one: what is refused must not hang on it."""
    return request.param()


def figures(measure: Measure, name: str) -> tuple[float, ...]:
    ((*blocks,),) = measure.series[name].launches
    return tuple(blocks)


# What is kept.


def test_without_a_laboratory_the_function_is_called_once_and_nothing_is_kept() -> None:
    calls = []
    measure = Measure()
    assert measure(calls.append, 1) is None
    assert calls == [1]
    assert measure.series == {}
    assert measure.conditions == {}


def test_throughput_cpu_time_and_latency_are_exact_and_per_unit_of_work(time: Time, instrument: Instrument) -> None:
    def two_threads() -> str:
        time.passes(MS, 2 * MS)
        return "receipts"

    assert instrument(two_threads, work=10, unit="tx") == "receipts"
    assert set(instrument.series) == MEASURED
    assert figures(instrument, "throughput") == pytest.approx([10_000.0] * 20)
    assert figures(instrument, "cpu_time") == pytest.approx([0.000_2] * 20)
    for name in ("latency_p50", "latency_p90", "latency_p95", "latency_p99"):
        assert figures(instrument, name) == (0.001,)
        assert instrument.series[name].samples == 1000
    assert "needs 10000 samples and there are 1000" in (instrument.series["latency_p999"].unmeasured or "")
    units = {name: (series.metric.unit, series.metric.better) for name, series in instrument.series.items()}
    assert units["throughput"] == ("tx/s", "higher")
    assert units["cpu_time"] == ("s/tx", "lower")
    assert instrument.conditions["blocks"] == "20 of 50 calls each, timed one by one"
    assert instrument.conditions["garbage collector"] == "enabled, older objects set aside"


def test_the_result_is_that_of_the_first_call(time: Time, instrument: Instrument) -> None:
    results = iter(range(10_000))

    def call() -> int:
        time.passes(MS)
        return next(results)

    assert instrument(call) == 0


def test_the_first_call_is_not_in_the_figures(time: Time, instrument: Instrument) -> None:
    work = time.work(MS)

    def compiled_at_first() -> None:
        if work.calls == 0:
            time.passes(900 * MS)
        work()

    instrument(compiled_at_first)
    assert set(figures(instrument, "throughput")) == {1000.0}


def test_setup_precedes_every_call_and_is_not_measured(time: Time, instrument: Instrument) -> None:
    order: list[str] = []

    def setup() -> None:
        order.append("setup")
        time.passes(3 * MS)

    def call() -> None:
        order.append("call")
        time.passes(MS)

    instrument(call, setup=setup)
    assert order == ["setup", "call"] * (len(order) // 2)
    assert set(figures(instrument, "throughput")) == {1000.0}
    assert set(figures(instrument, "cpu_time")) == {0.001}


def test_peak_memory_is_one_figure_of_a_run_of_its_own(instrument: Instrument, time: Time) -> None:
    def temporary() -> None:
        time.passes(100 * MS)
        np.ones(50_000_000, np.uint8)

    instrument(temporary)
    if instrument.series["peak_memory"].unmeasured:
        pytest.skip("this system does not reset the high-water mark")
    (peak,) = figures(instrument, "peak_memory")
    assert 42e6 < peak < 58e6


def test_run_delay_is_the_share_of_the_time_spent_in_blocks(
    time: Time, instrument: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "run_delay", lambda: time.wall // 4)
    instrument(time.work(MS))
    assert figures(instrument, "run_delay") == pytest.approx([0.25])


def test_run_delay_is_unmeasured_where_nobody_counts_it(
    time: Time, instrument: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "run_delay", lambda: None)
    instrument(time.work(MS))
    assert "keeps no account" in (instrument.series["run_delay"].unmeasured or "")


def test_a_call_that_drowns_in_the_clock_has_throughput_but_no_latency(time: Time) -> None:
    instrument = Instrument(least=0.01, most=1, wanted=[0.99])
    instrument(time.work(40))
    assert figures(instrument, "throughput") == pytest.approx([25e6] * 20)
    for name in QUANTILE_NAMES:
        reason = "a call takes 40.0 ns and reading the clock 50.0 ns; let one call do more work"
        assert instrument.series[name].unmeasured == reason


def test_with_setup_a_call_that_drowns_in_the_clock_has_no_figure_at_all(time: Time) -> None:
    instrument = Instrument(least=0.001, most=0.01)
    instrument(time.work(40), setup=lambda: None)
    for name in {"throughput", "cpu_time"} | QUANTILE_NAMES:
        reason = instrument.series[name].unmeasured or ""
        assert reason.startswith("with setup= each call is timed alone, and a call takes 40.0 ns and reading the")
    assert "the CPU clock 1.00 us" in (instrument.series["cpu_time"].unmeasured or "")


def test_with_setup_a_call_shorter_than_reading_the_cpu_clock_has_no_cpu_time(time: Time) -> None:
    short, long = Instrument(least=0.001, most=0.01), Instrument(least=0.001, most=0.01)
    short(time.work(19 * US), setup=lambda: None)
    long(time.work(20 * US), setup=lambda: None)
    assert short.series["throughput"].value == pytest.approx(1e9 / 19_000)
    assert short.series["cpu_time"].unmeasured
    assert long.series["cpu_time"].value == pytest.approx(20e-6)


def test_a_quantile_that_does_not_fit_says_how_many_samples_it_needs(time: Time) -> None:
    instrument = Instrument(least=0.1, most=1, wanted=[0.99])
    instrument(time.work(10 * MS))
    assert instrument.series["latency_p99"].unmeasured == (
        "p99 needs 1000 samples and there are 10; a call takes 10.0 ms: raise --supervm-time or --supervm-max-time"
    )


# Numbers of the test's own.


def test_recorded_numbers_are_kept_in_base_units(measure: Measure) -> None:
    measure.record("recovery", 250, unit="ms")
    measure.record("failure_rate", np.float32(0.5), unit="%")
    measure.record("compression_ratio", Decimal("2.5"), better="higher")  # type: ignore[arg-type]
    measure.record("blocks", np.int64(7), unit="block")
    kept = {name: (series.value, series.metric.unit) for name, series in measure.series.items()}
    assert kept == {
        "recovery": (0.25, "s"),
        "failure_rate": (0.005, "ratio"),
        "compression_ratio": (2.5, "ratio"),
        "blocks": (7.0, "block"),
    }


NO_NUMBERS = [math.nan, math.inf, -math.inf, np.nan, "3", b"3", None, 1j, 10**400, [1]]


@pytest.mark.parametrize("value", NO_NUMBERS, ids=lambda value: repr(value)[:20])
def test_what_is_no_finite_number_is_refused(measure: Measure, value: Any) -> None:
    with pytest.raises(MeasureError, match="not a finite number"):
        measure.record("recovery", value)
    with pytest.raises(MeasureError, match="not a finite number"):
        measure(lambda: None, work=value)
    assert measure.series == {}


def test_a_number_too_large_for_its_base_unit_is_refused(measure: Measure) -> None:
    with pytest.raises(MeasureError, match="not a finite number"):
        measure.record("size", 1e308, unit="GB")


@pytest.mark.parametrize("work", [0, -1, np.float64(0)])
def test_work_must_be_more_than_nothing(measure: Measure, work: float) -> None:
    with pytest.raises(MeasureError, match="more than 0 units"):
        measure(lambda: None, work=work)


def test_work_may_be_numpys(time: Time, instrument: Instrument) -> None:
    instrument(time.work(MS), work=np.int32(3))
    assert instrument.series["throughput"].value == pytest.approx(3000)


@pytest.mark.parametrize(
    ("name", "keywords", "says"),
    [
        ("failure_rate", {"better": "higher"}, "lower is better"),
        ("failure_rate", {"unit": "ms"}, "is in ratio"),
        ("anything", {"better": "more"}, "'lower' or 'higher', not 'more'"),
    ],
)
def test_a_metric_in_another_sense_than_its_own_is_refused(
    measure: Measure, name: str, keywords: dict[str, Any], says: str
) -> None:
    with pytest.raises(MeasureError, match=says):
        measure.record(name, 1, **keywords)


def test_a_metric_is_recorded_once(measure: Measure) -> None:
    measure.record("failure_rate", 0.1)
    with pytest.raises(MeasureError, match="'failure_rate' was recorded twice"):
        measure.record("failure_rate", 0.2)
    assert measure.series["failure_rate"].value == 0.1


# Latencies of the test's own.


@pytest.mark.parametrize("first", ["measure", "latency"])
def test_own_latencies_stand_in_place_of_those_of_whole_calls(time: Time, instrument: Instrument, first: str) -> None:
    if first == "measure":
        instrument(time.work(MS))
    instrument.latency([0.5] * 10_000)
    if first == "latency":
        instrument(time.work(MS))
    assert {figures(instrument, name) for name in QUANTILE_NAMES} == {(0.5,)}
    assert set(instrument.series) == MEASURED
    assert instrument.conditions["latency"] == "recorded by the test"


def test_latencies_may_be_a_generator_an_array_or_any_histogram() -> None:
    for source in (
        (0.5 for _ in range(1000)),
        np.full(1000, 0.5),
        quantiles.Histogram([0.25, 0.75], [1000]),
        SimpleNamespace(edges=np.array([0.25, 0.75]), counts=np.array([1000])),
    ):
        measure = Measure()
        measure.latency(source)
        assert measure.series["latency_p50"].value == 0.5
        assert measure.series["latency_p99"].value is not None


@pytest.mark.parametrize(
    "source",
    [[-1], [math.nan], ["fast"], 5, quantiles.Histogram([0, 1], [1, 2]), quantiles.Histogram([0, 1], [math.inf])],  # type: ignore[list-item]
)
def test_latencies_that_make_no_sense_are_refused_and_leave_room_for_better(measure: Measure, source: Any) -> None:
    with pytest.raises(MeasureError, match=r"measure\.latency\(\): "):
        measure.latency(source)
    measure.latency([0.5] * 20)
    assert measure.series["latency_p50"].value == 0.5


def test_latencies_are_taken_once(measure: Measure) -> None:
    measure.latency([0.5] * 20)
    with pytest.raises(MeasureError, match="called twice"):
        measure.latency([0.5] * 20)


# What is refused, and what is left behind.


def test_a_test_is_one_case(measure: Measure) -> None:
    measure(lambda: None, work=1)
    with pytest.raises(MeasureError, match="called twice"):
        measure(lambda: None)


def test_measuring_inside_what_is_measured_is_refused(measure: Measure) -> None:
    with pytest.raises(MeasureError, match="called twice"):
        measure(lambda: measure(lambda: None))


async def a_coroutine() -> None:
    raise AssertionError("its work must not be begun")


async def an_asynchronous_generator() -> Any:
    yield 1


def a_generator() -> Any:
    yield 1


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (a_coroutine, r"a_coroutine returned an awaitable: .* lambda: asyncio\.run\(function\(\)\)"),
        (lambda: a_coroutine(), "returned an awaitable"),
        (an_asynchronous_generator, "an_asynchronous_generator returned a generator"),
        (a_generator, r"a_generator returned a generator: .* lambda: list\(function\(\)\)"),
    ],
)
def test_work_that_is_still_to_be_done_is_refused(measure: Measure, function: Callable[[], object], says: str) -> None:
    """Without a warning that a coroutine was never awaited: warnings are errors here."""
    with pytest.raises(MeasureError, match=says):
        measure(function)
    gc.collect()
    assert measure.series == {}


def test_work_of_a_coroutine_that_is_worked_off_is_measured(time: Time) -> None:
    async def sleeps() -> int:
        time.passes(10 * MS)
        return 7

    instrument = Instrument(least=0.01, most=0.1)
    assert instrument(lambda: asyncio.run(sleeps())) == 7
    assert instrument.series["throughput"].value == pytest.approx(100)


def test_parameters_of_the_function_are_passed_on_whatever_their_names(time: Time) -> None:
    def call(*args: int, function: int, call: int, self: int) -> tuple[int, ...]:
        time.passes(MS)
        return (*args, function, call, self)

    for measure in (Measure(), Instrument(least=0.01, most=0.02)):
        assert measure(call, 1, 2, function=3, call=4, **{"self": 5}) == (1, 2, 3, 4, 5)


@pytest.mark.parametrize("error", [OSError("own"), KeyboardInterrupt()])
@pytest.mark.parametrize("call", [0, 1, 2, 40])
@pytest.mark.parametrize("place", ["function", "setup"])
def test_errors_come_out_as_they_are_and_leave_nothing_behind(
    time: Time, error: BaseException, call: int, place: str
) -> None:
    entered: list[str] = []

    class Shown:
        def __enter__(self) -> Callable[[float, float], None]:
            entered.append("shown")
            return lambda _spent, _planned: None

        def __exit__(self, *_: object) -> None:
            entered.append("hidden")

    work = time.work(MS)

    def fails() -> None:
        if work.calls == call:
            raise error
        work()

    instrument = Instrument(least=1, most=15, progress=Shown())
    gc.unfreeze()
    function, setup = (fails, None) if place == "function" else (lambda: time.passes(MS), fails)
    with pytest.raises(type(error)) as caught:
        instrument(function, setup=setup)
    assert caught.value is error
    assert entered == ["shown", "hidden"]
    assert gc.get_freeze_count() <= resources.FROZEN_AT_STARTUP
    assert instrument.series == {}


# Observers and other obstacles.


class Watcher:
    """Watches from one call of the measured function to another."""

    def __init__(self, time: Time, monkeypatch: pytest.MonkeyPatch, *, starts: int, stops: float = math.inf) -> None:
        self.calls = 0
        self.time = time
        monkeypatch.setattr(observers, "active", lambda: "a spy" if starts < self.calls <= stops else None)

    def call(self) -> None:
        self.calls += 1
        self.time.passes(MS)


@pytest.mark.parametrize(("starts", "stops"), [(-1, math.inf), (0, math.inf), (200, math.inf), (100, 400)])
def test_whoever_watches_makes_every_figure_unmeasured(
    time: Time, instrument: Instrument, monkeypatch: pytest.MonkeyPatch, starts: int, stops: float
) -> None:
    """From before the case, from its first call, from the middle of the blocks, and for a while only."""
    instrument(Watcher(time, monkeypatch, starts=starts, stops=stops).call)
    assert set(instrument.series) == MEASURED - {"run_delay"}
    assert {series.unmeasured for series in instrument.series.values()} == {"a spy: run without it to measure"}


def test_under_an_observer_the_function_is_called_once_only(
    time: Time, instrument: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = Watcher(time, monkeypatch, starts=-1)
    instrument(watcher.call)
    assert watcher.calls == 1


def test_times_that_the_test_took_itself_under_an_observer_are_not_kept(
    instrument: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observers, "active", lambda: "a spy")
    instrument.latency([0.5] * 10_000)
    instrument.record("recovery", 5, unit="ms")
    instrument.record("speed", 5, unit="tx/s", better="higher")
    instrument.record("cost", 5, unit="s/tx")
    instrument.record("failure_rate", 0.5)
    assert instrument.series.pop("failure_rate").value == 0.5
    assert {series.unmeasured for series in instrument.series.values()} == {"a spy: run without it to measure"}
    assert set(instrument.series) == QUANTILE_NAMES | {"recovery", "speed", "cost"}


def test_an_obstacle_is_the_reason_of_every_figure(time: Time) -> None:
    instrument = Instrument(least=1, most=15, obstacle="4 workers ran beside each other")
    work = time.work(MS)
    instrument(work)
    instrument.latency([0.5] * 10_000)
    assert work.calls == 1
    assert {series.unmeasured for series in instrument.series.values()} == {"4 workers ran beside each other"}


def test_waiting_for_a_turn_is_not_measured(time: Time) -> None:
    told: list[tuple[float, float]] = []

    class Alone:
        def __enter__(self) -> None:
            time.passes(100 * S)

        def __exit__(self, *_: object) -> None:
            time.passes(100 * S)

    class Shown:
        def __enter__(self) -> Callable[[float, float], None]:
            return lambda *times: told.append(times)

        def __exit__(self, *_: object) -> None:
            pass

    instrument = Instrument(least=1, most=15, alone=Alone(), progress=Shown())
    instrument(time.work(MS))
    assert instrument.series["throughput"].value == 1000
    assert max(spent for spent, _ in told) < 2


def test_who_cannot_be_alone_calls_once_and_says_why(time: Time) -> None:
    work = time.work(MS)
    instrument = Instrument(least=1, most=15, alone=contextlib.nullcontext("somebody is here"))
    instrument(work)
    assert work.calls == 1
    assert {series.unmeasured for series in instrument.series.values()} == {"somebody is here"}


def test_a_time_that_the_test_took_in_the_crowd_is_not_kept(time: Time) -> None:
    instrument = Instrument(least=1, most=15, beside="4 workers")
    instrument.record("before", 5, unit="ms")
    instrument.record("failure_rate", 0.5)
    instrument(time.work(MS))
    instrument.record("after", 5, unit="ms")
    assert instrument.series["before"].unmeasured == "4 workers"
    assert instrument.series["after"].value == instrument.series["failure_rate"].value / 100 == 0.005


STARTED_INSIDE = """
import cProfile, sys, tracemalloc
import pytest

profiler = cProfile.Profile()
START = {"cProfile": profiler.enable, "settrace": lambda: sys.settrace(print_nothing), "tracemalloc": tracemalloc.start}
STOP = {"cProfile": profiler.disable, "settrace": lambda: sys.settrace(None), "tracemalloc": tracemalloc.stop}

def print_nothing(*_):
    pass

@pytest.mark.parametrize("observer", list(START))
def test_it(measure, observer):
    def starts():
        if not calls:
            START[observer]()
        calls.append(1)

    calls = []
    try:
        measure(starts)
    finally:
        STOP[observer]()

def test_after_them(measure):
    measure(range, 5)
"""


def reasons(results: dict[str, Any]) -> dict[str, set[str | None]]:
    """Return why figures are unmeasured, by the test's parameter; None where they are measured."""
    cases = results["run"]["cases"]
    return {
        case["parameters"].get("observer", case["id"]): {
            series.get("unmeasured") for series in case["series"] if "latency" not in series["metric"]["name"]
        }
        for case in cases
    }


def test_observers_that_a_call_starts_are_named_by_the_real_command(project: Any) -> None:
    project.write("test_it.py", STARTED_INSIDE)
    found = reasons(project.results("--supervm-time=20ms"))
    cprofile = (
        "a profile function (cProfile) is active"
        if sys.version_info < (3, 12)
        else "the monitoring tool 'cProfile' is active"
    )
    assert found == {
        "'cProfile'": {f"{cprofile}: run without it to measure"},
        "'settrace'": {"a trace function (test_it) is active: run without it to measure"},
        "'tracemalloc'": {"tracemalloc is tracing allocations: run without it to measure"},
        "test_it.py::test_after_them": {None},
    }


@pytest.mark.parametrize("core", ["ctrace"] if sys.version_info < (3, 12) else ["ctrace", "sysmon"])
def test_coverage_is_named_by_the_real_command(project: Any, monkeypatch: pytest.MonkeyPatch, core: str) -> None:
    monkeypatch.setenv("COVERAGE_CORE", core)
    monkeypatch.delenv("COVERAGE_FILE", raising=False)
    project.write("test_it.py", "def test_it(measure):\n    measure(range, 5)\n")
    found = reasons(project.results("--supervm-time=20ms", "--cov=.", "--cov-report="))
    observer = "the monitoring tool 'coverage.py'" if core == "sysmon" else "a trace function (coverage)"
    assert found == {"test_it.py::test_it": {f"{observer} is active: run without it to measure"}}


# Progress.


def test_a_sign_of_life_is_possible_after_every_long_call(time: Time) -> None:
    told: list[tuple[float, float]] = []

    class Shown:
        def __enter__(self) -> Callable[[float, float], None]:
            return lambda *times: told.append(times)

        def __exit__(self, *_: object) -> None:
            pass

    Instrument(least=1, most=15, progress=Shown())(time.work(3000 * MS))
    assert told == [(3, 18), (6, 18), (12, 18), (15, 18), (18, 18)]
