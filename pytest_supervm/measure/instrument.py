"""One case: what a test author calls, and what becomes of it.

`Measure` is the object behind the fixture `measure`. Without a laboratory around it, it calls the function once and
returns what that returned, so that a performance test is an ordinary test. `Instrument` measures: it calls once to warm
up (that call's result is returned), once for memory, and then in blocks.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from pytest_supervm import units
from pytest_supervm.measure import blocks, clock, observers, quantiles, resources
from pytest_supervm.model import STANDARD_METRICS, Better, Metric, Series

T = TypeVar("T")

DIGITS = 7
"""Significant digits of a block's value: no clock knows more, and what is kept is half as long."""


class MeasureError(Exception):
    """A test asked for something that cannot be measured: what, why, and what to do instead."""


class Measure:
    """What the fixture `measure` gives to a test.

    Without a ``--supervm`` option the function is called once and nothing is kept.

    Attributes
    ----------
    series
        What was measured and recorded, by metric name.
    conditions
        How it was measured, in words.
    """

    def __init__(self, metrics: Mapping[str, Metric] = STANDARD_METRICS) -> None:
        self._metrics = metrics
        self._alone: AbstractContextManager[str | None] = contextlib.nullcontext()
        self._progress: AbstractContextManager[blocks.Progress] = contextlib.nullcontext(_silent)
        self._obstacle: str | None = None
        self.series: dict[str, Series] = {}
        self.conditions: dict[str, str] = {}
        self._called = False
        self._started = 0
        self._own_latency = False

    def __call__(
        self,
        function: Callable[..., T],
        /,
        *args: Any,
        work: float = 1,
        unit: str = "op",
        setup: Callable[[], object] | None = None,
        **kwargs: Any,
    ) -> T:
        """Measure ``function(*args, **kwargs)`` and return the result of its first call.

        Parameters
        ----------
        function
            What is measured. Without ``setup`` it must bear being called many times in a row.
        *args, **kwargs
            Passed on. For a function with parameters named ``work``, ``unit`` or ``setup`` use `functools.partial`.
        work
            Units of work that one call does.
        unit
            Name of that unit: throughput is in ``unit/s``, CPU time in ``s/unit``.
        setup
            Called without arguments before every call, outside the timing.

        Returns
        -------
        object
            What the first call returned.

        Raises
        ------
        MeasureError
            Called twice in one test, `work` is not a number above zero, or the function returned a coroutine or a
            generator, whose work is still to be done.
        """
        if _number(work) <= 0:
            raise MeasureError(f"work={work!r}: one call must do more than 0 units of work")
        self._call_once()
        call: Callable[[], T] = functools.partial(function, *args, **kwargs) if args or kwargs else function
        with self._begun() as progress:
            if setup is not None:
                setup()
            result = call()
            _refuse_unfinished(function, result)
            self._measure(call, setup, _number(work), unit, progress)
        return result

    def _call_once(self) -> None:
        if self._called:
            raise MeasureError(
                "measure() was called twice in one test: a test is one case. Parametrize the test, or write two"
            )
        self._called = True

    @contextlib.contextmanager
    def _begun(self) -> Iterator[blocks.Progress]:
        """Wait for a turn, which is not measured, and begin."""
        with self._alone as crowd, self._progress as progress:
            self._obstacle = self._obstacle or crowd
            self._started = clock.wall()
            yield progress

    def record(self, name: str, value: float, *, unit: str = "ratio", better: Better = "lower") -> None:
        """Add a number that the test found out itself as a metric of its case.

        Parameters
        ----------
        name
            Metric name: ``failure_rate``, ``write_amplification``, or any other.
        value
            The figure, in `unit`.
        unit
            ``s``, ``ms``, ``B``, ``MB``, ``%``, ``ratio``, or the name of a count. Kept in the base unit.
        better
            ``"lower"`` or ``"higher"``.

        Raises
        ------
        MeasureError
            The name was recorded before, the value is not finite, or a known metric is recorded in another dimension or
            direction than its own.
        """
        metric = Metric(name, units.base_unit(unit), better)
        known = self._metrics.get(name, metric)
        if better not in ("lower", "higher"):
            raise MeasureError(f"record({name!r}): better is 'lower' or 'higher', not {better!r}")
        if metric != known:
            raise MeasureError(
                f"record({name!r}): this metric is in {known.unit} and {known.better} is better; "
                f"record it so, or under another name"
            )
        figure = _number(units.to_base(_number(value), unit))
        obstacle = self._hindered() if _is_time(metric.unit) else None
        kept = Series(metric=metric, launches=((figure,),)) if obstacle is None else _unmeasured(metric, obstacle)
        self._keep([kept])

    def latency(self, source: Iterable[float] | quantiles.HistogramLike) -> None:
        """Take latencies that the subject recorded itself; they stand in place of the latency of whole calls.

        Parameters
        ----------
        source
            Single latencies in seconds, or anything with ``edges`` (seconds, ascending) and ``counts``, one fewer:
            quantiles are interpolated inside the buckets. `pytest_supervm.Histogram` is one.

        Raises
        ------
        MeasureError
            Called twice, or the latencies make no sense.
        """
        if self._own_latency:
            raise MeasureError("measure.latency() was called twice in one test: join the samples first")
        more = "record more of them"
        try:
            if isinstance(source, quantiles.HistogramLike):
                found = quantiles.of_histogram(source, more)
            else:
                found = quantiles.of_samples(source, more)
        except (ValueError, TypeError) as error:
            raise MeasureError(f"measure.latency(): {error}") from None
        self._own_latency = True
        if obstacle := self._hindered():
            found = quantiles.unmeasured(obstacle)
        for series in found:
            self.series.pop(series.metric.name, None)
        self.conditions["latency"] = "recorded by the test"
        self._keep(found)

    def _keep(self, found: Iterable[Series]) -> None:
        for series in found:
            name = series.metric.name
            if name in self.series:
                raise MeasureError(f"the metric {name!r} was recorded twice in one test")
            self.series[name] = series

    def _measure(
        self, call: Callable[[], object], setup: blocks.Work | None, work: float, unit: str, show: blocks.Progress
    ) -> None:
        """Do nothing more: a single call was all that was asked for."""

    def _hindered(self) -> str | None:
        """Say why no time that passes in this process is worth keeping, or None."""
        return None


class Instrument(Measure):
    """Measures.

    Parameters
    ----------
    least, most
        Seconds of timed work per case: at least, and at most for the samples that a quantile needs.
    wanted
        Quantiles that somebody has a policy for: only for them is the time stretched towards `most`.
    metrics
        The known metrics by name, the project's own included.
    obstacle
        Why nothing can be measured in this process, or None.
    alone
        Entered before everything else and left after it, so that nobody disturbs; yields why that cannot be had, or
        None.
    beside
        Why times that the test takes outside of the measured call are worth nothing, or None.
    progress
        Entered while a case is measured, and told between calls and blocks.

    Attributes
    ----------
    timings
        What was timed, once it is; figures may be missing all the same.
    """

    def __init__(
        self,
        *,
        least: float,
        most: float,
        wanted: Iterable[float] = (),
        metrics: Mapping[str, Metric] = STANDARD_METRICS,
        obstacle: str | None = None,
        alone: AbstractContextManager[str | None] | None = None,
        beside: str | None = None,
        progress: AbstractContextManager[blocks.Progress] | None = None,
    ) -> None:
        super().__init__(metrics)
        self._least = least
        self._most = most
        self._wanted = wanted
        self._obstacle = obstacle
        self._beside = beside
        self.timings: blocks.Timings | None = None
        if alone is not None:
            self._alone = alone
        if progress is not None:
            self._progress = progress

    def _measure(
        self, call: Callable[[], object], setup: blocks.Work | None, work: float, unit: str, show: blocks.Progress
    ) -> None:
        first = self._spent()
        blocks_ahead = max(self._least, blocks.FEWEST_BLOCKS * first)

        def tell(ahead: float) -> None:
            """Show what is done and ahead, in seconds, and look around: an observer may come and go."""
            self._obstacle = self._hindered()
            show(spent := self._spent(), spent + ahead)

        tell(2 * first + blocks_ahead)
        if self._obstacle is None:
            memory = resources.peak_memory(call, setup)
            tell(first + blocks_ahead)
            start, delay = clock.wall(), resources.run_delay()
            timings = self._time(call, setup, lambda spent, planned: tell(planned - spent))
            waited = _run_delay(delay, clock.wall() - start)
        if obstacle := self._hindered():
            self.give_up(obstacle, unit)
        else:
            alone = "with setup= each call is timed alone"
            self._keep_timings(timings, work, unit, memory, waited, 1 if setup else 0, alone)

    def rounds(
        self, prepare: Callable[[], tuple[blocks.Work, blocks.Work]], *, warm_up: int, count: int, calls: int
    ) -> None:
        """Measure an exact number of calls, for a function that does not bear more; work is counted in ``op``.

        Parameters
        ----------
        prepare
            Called before every round, outside the timing: returns the call, and what is to follow the round.
        warm_up, count
            Rounds that are not timed, and rounds that are. Peak memory is that of the first one that is not.
        calls
            Calls in a round, timed together.

        Raises
        ------
        MeasureError
            Called twice in one test.
        """
        self._call_once()
        memory = _unmeasured(STANDARD_METRICS["peak_memory"], "every call is timed: allow a round to warm up")

        def look_around(spent: float, planned: float) -> None:
            self._obstacle = self._hindered()
            show(spent, planned)

        with self._begun() as show:
            for number in range(warm_up):
                call, follow = prepare()
                if number == 0:
                    memory = resources.peak_memory(lambda call=call: [call() for _ in range(calls)], None)  # type: ignore[misc]
                else:
                    for _ in range(calls):
                        call()
                follow()
            start, delay = clock.wall(), resources.run_delay()
            timings = self._time_rounds(prepare, count, calls, look_around)
            waited = _run_delay(delay, clock.wall() - start)
        if obstacle := self._hindered():
            self.give_up(obstacle)
        else:
            together = f"rounds of {calls} call{'s' if calls > 1 else ''} are timed"
            self._keep_timings(timings, 1, "op", memory, waited, calls, together)

    def give_up(self, obstacle: str, unit: str = "op") -> None:
        """Keep why there are no figures."""
        metrics = (*_speed(unit), STANDARD_METRICS["peak_memory"])
        self._keep(_unmeasured(metric, obstacle) for metric in metrics)
        self._keep_latency(quantiles.unmeasured(obstacle))

    def _keep_timings(
        self, timings: blocks.Timings, work: float, unit: str, memory: Series, waited: Series, alone: int, how: str
    ) -> None:
        """Keep what was timed as series.

        Parameters
        ----------
        alone
            Calls between two readings of the clock, where they are few by the caller's wish, and too few perhaps; else
            0.
        how
            That wish in words.
        """
        throughput, cpu_time = _speed(unit)
        done = work * timings.calls
        blur = _blur(timings, clock.inspect().grain, "the clock", alone, how) if alone else None
        cpu_blur = _blur(timings, clock.inspect().cpu_cost, "the CPU clock", alone, how) if alone else None
        speeds = (done * blocks.SECOND / max(wall, 1) for wall in timings.wall)
        costs = (cpu / blocks.SECOND / done for cpu in timings.cpu)
        self._keep([_unmeasured(throughput, blur) if blur else _series(throughput, speeds)])
        no_latency = f"{how}, and no single call" if alone > 1 else blur
        self._keep_latency(quantiles.unmeasured(no_latency) if no_latency else self._latency(timings))
        self._keep([_unmeasured(cpu_time, cpu_blur) if cpu_blur else _series(cpu_time, costs), memory, waited])

    def _hindered(self) -> str | None:
        return self._obstacle or (None if self._called else self._beside) or _watched()

    def _spent(self) -> float:
        """Return the seconds since the case began."""
        return (clock.wall() - self._started) / blocks.SECOND

    def _time(self, call: Callable[[], object], setup: blocks.Work | None, progress: blocks.Progress) -> blocks.Timings:
        with resources.settled_heap() as collector:
            timings = blocks.run(
                call,
                setup,
                least=self._least,
                most=self._most,
                latencies_wanted=map(quantiles.samples_needed, self._wanted),
                progress=progress,
            )
        self._describe(timings, collector)
        return timings

    def _time_rounds(
        self, prepare: Callable[[], tuple[blocks.Work, blocks.Work]], count: int, calls: int, progress: blocks.Progress
    ) -> blocks.Timings:
        with resources.settled_heap() as collector:
            timings = blocks.rounds(prepare, count=count, calls=calls, progress=progress)
        self._describe(timings, collector)
        return timings

    def _describe(self, timings: blocks.Timings, collector: str) -> None:
        """Keep what was timed, and how."""
        self.timings = timings
        each = f"{timings.calls} call{'s' if timings.calls > 1 else ''} each"
        self.conditions |= {
            "blocks": f"{len(timings.wall)} of {each}{', timed one by one' if timings.stamped else ''}",
            "garbage collector": collector,
            "clock": str(clock.inspect()),
        }

    def _latency(self, timings: blocks.Timings) -> list[Series]:
        if not timings.latencies:
            return quantiles.unmeasured(
                _too_short(min(timings.wall) / timings.calls, clock.inspect().cost, "the clock")
            )
        seconds = (nanoseconds / blocks.SECOND for nanoseconds in timings.latencies)
        each = units.quantity(sum(timings.latencies) / len(timings.latencies) / blocks.SECOND, "s")
        return quantiles.of_samples(seconds, f"a call takes {each}: raise --supervm-time or --supervm-max-time")

    def _keep_latency(self, found: Iterable[Series]) -> None:
        """Keep the latency of whole calls, unless the test brought latencies of its own."""
        if not self._own_latency:
            self._keep(found)


def _series(metric: Metric, values: Iterable[float]) -> Series:
    return Series(metric=metric, launches=(tuple(float(f"{value:.{DIGITS}g}") for value in values),))


def _unmeasured(metric: Metric, reason: str) -> Series:
    return Series(metric=metric, unmeasured=reason)


def _is_time(unit: str) -> bool:
    """Tell whether figures in a base unit are times or speeds: ``s``, ``s/tx``, ``tx/s``."""
    return unit == "s" or unit.startswith("s/") or unit.endswith("/s")


def _speed(unit: str) -> tuple[Metric, Metric]:
    """Return the metrics of speed in a unit of work."""
    return Metric("throughput", f"{unit}/s", "higher"), Metric("cpu_time", f"s/{unit}", "lower")


def _blur(timings: blocks.Timings, reading: float, which: str, alone: int, how: str) -> str | None:
    """Say why `alone` calls between two readings are too short for a clock, or None if they are not."""
    each = statistics.median(timings.wall) / timings.calls
    if each * alone >= clock.LATENCY_SHARE * reading:
        return None
    return f"{how}, and {_too_short(each, reading, which)}"


def _too_short(each: float, reading: float, which: str) -> str:
    """Say that a call of `each` nanoseconds drowns in the nanoseconds that reading a clock takes."""
    taken, cost = (units.quantity(time / blocks.SECOND, "s") for time in (each, reading))
    return f"a call takes {taken} and reading {which} {cost}; let one call do more work"


def _refuse_unfinished(function: Callable[..., object], result: object) -> None:
    """Refuse what a call leaves to be done later: only making it would be timed."""
    if inspect.iscoroutine(result):
        result.close()
    if inspect.isawaitable(result):
        what, instead = "an awaitable", "lambda: asyncio.run(function())"
    elif inspect.isasyncgen(result) or inspect.isgenerator(result):
        what, instead = "a generator", "lambda: list(function())"
    else:
        return
    raise MeasureError(
        f"{getattr(function, '__name__', function)} returned {what}: its work is still to be done, and would not be "
        f"timed. Measure a function that does the work, such as {instead}"
    )


def _run_delay(before: int | None, wall: int) -> Series:
    """Return the share of `wall` nanoseconds that this thread waited for a core since the reading `before`."""
    metric = STANDARD_METRICS["run_delay"]
    after = resources.run_delay()
    if before is None or after is None:
        return Series(metric=metric, unmeasured="this system keeps no account of the wait for a core")
    return _series(metric, [(after - before) / wall])


def _number(value: object) -> float:
    """Convert to a finite float, numpy's numbers included."""
    try:
        number = math.nan if isinstance(value, str | bytes) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise MeasureError(f"{value!r} is not a finite number")
    return number


def _silent(_spent: float, _planned: float) -> None:
    """Show no progress."""


def _watched() -> str | None:
    observer = observers.active()
    return f"{observer}: run without it to measure" if observer else None
