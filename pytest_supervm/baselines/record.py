"""One run as one line of JSON, and back.

A line is trusted with a merge decision, so reading is strict: types as the schema says, every value a finite number,
and no number below zero where that means nothing. What is refused on reading is refused on writing too, so that a
store never holds a line of our own making that we cannot read. The line ends with a newline and holds no other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime

import msgspec

from pytest_supervm.baselines.store import UnsoundRun
from pytest_supervm.model import SCHEMA, STANDARD_METRICS, Metric, Run

LONGEST_LINE = 2**28
"""Bytes. A longer line is not read: it would be no run but something that fills the memory."""

_CONFLICT_MARKERS = (b"<<<<<<< ", b"||||||| ", b">>>>>>> ")


class _Versioned(msgspec.Struct):
    schema: int


_version = msgspec.json.Decoder(_Versioned)
_run = msgspec.json.Decoder(Run)


class RecordError(ValueError):
    """A line is not a sound run. The message is a clause that says why."""


def decode(line: bytes) -> Run:
    """Read one line.

    Raises
    ------
    RecordError
        It is no JSON, of a newer schema, or not a sound run.
    """
    if line.startswith(_CONFLICT_MARKERS) or line.rstrip() == b"=======":
        raise RecordError("a marker of a merge conflict: delete it, the runs of both sides may stay, in any order")
    try:
        schema = _version.decode(line).schema
        if schema > SCHEMA:
            raise RecordError(
                f"a newer version of pytest-supervm wrote it (schema {schema}, known here up to {SCHEMA}): upgrade "
                "pytest-supervm to read it"
            )
        run = _run.decode(line)
    except msgspec.ValidationError as error:
        raise RecordError(f"not a record of a run: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(f"not a line of JSON in UTF-8: {error}") from error
    if flaw := next(_flaws(run), None):
        raise RecordError(f"not a sound run: {flaw}")
    return run


def encode(run: Run) -> bytes:
    """Write one line.

    Raises
    ------
    UnsoundRun
        `decode` would not read it.
    """
    try:
        if flaw := next(_flaws(run), None):
            raise RecordError(flaw)
        line = msgspec.json.encode(run) + b"\n"
        if len(line) > LONGEST_LINE:
            raise RecordError(f"its record has {len(line)} bytes, the most is {LONGEST_LINE}")
        decode(line)
    except (RecordError, UnicodeEncodeError, OverflowError, TypeError) as error:
        raise UnsoundRun(
            f"run {run.id} cannot be kept, and nothing was changed: {error}: leave that out, or give the "
            "reason why it is unmeasured"
        ) from error
    return line


def when(run: Run) -> tuple[datetime, str]:
    """Return what runs are sorted by: their time, and their id where that is equal."""
    return datetime.fromisoformat(run.time), run.id


def _flaws(run: Run) -> Iterator[str]:
    if run.schema < 1:
        yield f"schema {run.schema} does not exist"
    if not run.id:
        yield "its id is empty"
    try:
        if datetime.fromisoformat(run.time).tzinfo is None:
            yield f"its time {run.time!r} has no time zone"
    except ValueError:
        yield f"its time {run.time!r} is not in ISO 8601"
    if run.calibration is not None and not 0 <= run.calibration < math.inf:
        yield f"its calibration is {run.calibration}"
    for case in run.cases:
        for series in case.series:
            place = f"case {case.id!r}, metric {series.metric.name!r}"
            if not series.launches and series.unmeasured is None:
                yield f"{place} has neither values nor a reason why"
            if not all(series.launches):
                yield f"{place} has a launch without values"
            lowest = _lowest(series.metric)
            for blocks in filter(None, series.launches):
                if math.isfinite(sum(blocks)) and min(blocks) >= lowest:
                    continue  # the whole launch at the speed of C: a file holds millions of values
                for value in blocks:
                    if not (math.isfinite(value) and value >= lowest):
                        yield f"{place} has the value {value}"
            if series.samples is not None and series.samples < 0:
                yield f"{place} rests on {series.samples} samples"


def _lowest(metric: Metric) -> float:
    """Durations, sizes and the standard metrics cannot be negative; what a test counts may be."""
    return 0.0 if metric.unit in ("s", "B") or metric.name in STANDARD_METRICS else -math.inf
