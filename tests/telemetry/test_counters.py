"""Counters lose nothing to other writers, and are shown under the names that dashboards ask for."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from supervm_core.errors import TelemetryError
from supervm_core.telemetry.counters import ADMISSION, LINE, METRICS, Count, Counters, Snapshot, Work

REFERENCE_NAMES = {
    "fastpath_queue_length",
    "fastpath_queue_wait_time_ms",
    "fastpath_batch_size",
    "fastpath_memory_usage_bytes",
    "fastpath_worker_cpu_usage",
    "fastpath_retries_total",
    "fastpath_dropped_total",
    "fastpath_txns_total",
    "fastpath_slow_requests_total",
}
"""What the optimisation list calls them; dashboards exist."""


def queue(length: list[int], **others: list[int]) -> dict[str, np.ndarray]:
    """What admission counts, by partition; nothing of what is not named."""
    counted = {name: np.zeros(len(length), np.uint64) for name in ("waited_ns", "retries", "dropped")}
    return counted | {name: np.array(numbers, np.uint64) for name, numbers in {"length": length, **others}.items()}


def test_every_name_of_the_optimisation_list_is_among_the_samples() -> None:
    counters = Counters(2, 1)
    names = {sample.metric.name for sample in counters.snapshot().samples(counters.snapshot())}
    assert names >= REFERENCE_NAMES


def test_every_count_is_shown() -> None:
    assert set(METRICS) == set(Count)


@pytest.mark.parametrize(("partitions", "workers"), [(1, 1), (7, 3), (64, 2)])
def test_rows_begin_a_cache_line_and_admission_has_lines_of_its_own(partitions: int, workers: int) -> None:
    """Two writers on one line would slow each other down tenfold, unseen."""
    counters = Counters(partitions, workers)
    for rows in (counters.partitions, counters.workers):
        assert rows.ctypes.data % 64 == 0
        assert rows.strides[0] % 64 == 0
        assert not rows.any()
    lines = {count: count // LINE for count in Count}
    assert not {lines[count] for count in ADMISSION} & {lines[count] for count in Count if count not in ADMISSION}


def test_workers_and_admission_that_write_at_once_lose_nothing() -> None:
    """Compiled loops without the interpreter's lock, one per worker, beside a Python thread that admits."""
    counters, turns = Counters(2, 2), 200_000

    @njit(nogil=True)
    def add(row: np.ndarray, place: int, turns: int) -> None:
        for _ in range(turns):
            row[place] += np.uint64(1)

    add(counters.partitions[0], Count.FAST, 0)
    threads = [threading.Thread(target=add, args=(counters.partitions[p], int(Count.FAST), turns)) for p in range(2)]
    for thread in threads:
        thread.start()
    for length in range(1_000):
        counters.queued(**queue([length, 0], retries=[1, 0]))
    for thread in threads:
        thread.join()
    snapshot = counters.snapshot()
    assert snapshot.partitions[:, Count.FAST].tolist() == [turns, turns]
    assert snapshot.total(Count.RETRIES) == 1_000
    assert snapshot.partitions[0, Count.QUEUE_LENGTH] == 999


@given(st.lists(st.tuples(*[st.integers(0, 2**32)] * 2), min_size=1, max_size=5))
def test_totals_and_shares_are_those_of_all_partitions(rows: list[tuple[int, int]]) -> None:
    counters = Counters(len(rows), 1)
    counters.partitions[:, [Count.FAST, Count.ORDERED]] = rows
    snapshot = counters.snapshot()
    fast, ordered = (sum(column) for column in zip(*rows, strict=True))
    assert (snapshot.total(Count.FAST), snapshot.total(Count.ORDERED)) == (fast, ordered)
    assert snapshot.fast_share == (fast / (fast + ordered) if fast + ordered else 0)


def test_more_rows_keep_what_was_counted() -> None:
    """Whoever is configured anew would else count backwards."""
    counters = Counters(2, 1)
    counters.partitions[:, Count.FAST] = 3, 4
    counters.worked(0, cpu_ns=5)
    counters.grow(3, 2)
    assert counters.partitions[:, Count.FAST].tolist() == [3, 4, 0]
    assert counters.workers[:, Work.CPU].tolist() == [5, 0]
    counters.grow(1, 1)
    assert counters.partitions[:, Count.FAST].tolist() == [3, 4, 0]
    assert counters.partitions.ctypes.data % 64 == 0


def test_a_snapshot_stays_as_it_is() -> None:
    counters = Counters(1, 1)
    before = counters.snapshot()
    counters.queued(**queue([5]))
    counters.worked(0, cpu_ns=10)
    assert not before.partitions.any()
    assert not before.workers.any()


def test_cpu_use_is_cpu_time_over_wall_time_between_snapshots() -> None:
    counters = Counters(1, 2)
    counters.worked(0, cpu_ns=1_000)
    before = counters.snapshot()
    counters.worked(0, cpu_ns=250)
    counters.worked(1, cpu_ns=1_000)
    after = Snapshot(counters.partitions.copy(), counters.workers.copy(), before.moment + 1_000, before.memory)
    assert after.cpu_usage(before).tolist() == [0.25, 1.0]
    assert before.cpu_usage(before).tolist() == [0, 0]


def test_waiting_is_shown_in_the_unit_of_its_name() -> None:
    counters = Counters(1, 1)
    counters.queued(**queue([3], waited_ns=[2_500_000]))
    shown = {sample.metric.name: sample.value for sample in counters.snapshot().samples()}
    assert shown["fastpath_queue_wait_time_ms"] == pytest.approx(2.5)
    assert shown["fastpath_queue_length"] == 3
    assert shown["fastpath_memory_usage_bytes"] > 2**20


@pytest.mark.parametrize("rows", [(0, 1), (1, 0)])
def test_no_counters_without_rows(rows: tuple[int, int]) -> None:
    with pytest.raises(TelemetryError, match="at least 1 partition and 1 worker"):
        Counters(*rows)
