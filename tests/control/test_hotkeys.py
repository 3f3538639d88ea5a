"""The sketch against exact counts: its bounds hold for any stream, cut into any batches."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervm_core.control.hotkeys import SpaceSaving
from supervm_core.errors import SettingError

KEYS = st.integers(0, 12) | st.sampled_from([2**63, 2**64 - 1])
STREAMS = st.lists(st.lists(KEYS, max_size=30), max_size=12)


def counted(stream: list[list[int]], capacity: int) -> SpaceSaving:
    sketch = SpaceSaving(capacity)
    for batch in stream:
        sketch.add(np.array(batch, np.uint64))
    return sketch


@given(STREAMS, st.integers(2, 9))
def test_no_estimate_is_off_by_more_than_the_total_over_the_counters(stream: list[list[int]], capacity: int) -> None:
    exact = Counter(key for batch in stream for key in batch)
    sketch = counted(stream, capacity)
    assert sketch.total == exact.total()
    assert sketch.error <= sketch.total / capacity
    for key in [*exact, 99]:
        least, most = sketch.estimate(key)
        assert least <= exact[key] <= most
        assert most - least <= sketch.total / capacity


@given(STREAMS, st.integers(2, 9))
def test_every_key_that_is_frequent_enough_is_found(stream: list[list[int]], capacity: int) -> None:
    exact = Counter(key for batch in stream for key in batch)
    found = set(counted(stream, capacity).top(capacity).keys.tolist())
    assert len(found) < capacity
    assert found >= {key for key, number in exact.items() if number > exact.total() / capacity}


@given(STREAMS)
def test_with_a_counter_to_spare_for_every_key_counts_are_exact(stream: list[list[int]]) -> None:
    exact = Counter(key for batch in stream for key in batch)
    sketch = counted(stream, len(exact) + 2)
    assert sketch.error == 0
    top = sketch.top(len(exact))
    assert dict(zip(top.keys.tolist(), top.least.tolist(), strict=True)) == exact
    assert top.least.tolist() == sorted(exact.values(), reverse=True)


@given(STREAMS, st.integers(2, 9), st.sampled_from([0.25, 0.5]))
def test_bounds_hold_for_decayed_counts(stream: list[list[int]], capacity: int, factor: float) -> None:
    exact: dict[int, float] = Counter()
    sketch = SpaceSaving(capacity)
    for batch in stream:
        sketch.decay(factor)
        exact = {key: number * factor for key, number in exact.items()}
        sketch.add(np.array(batch, np.uint64))
        for key in batch:
            exact[key] = exact.get(key, 0) + 1
    assert sketch.error <= sketch.total / capacity + 1e-9
    for key, number in exact.items():
        least, most = sketch.estimate(key)
        assert least - 1e-9 <= number <= most + 1e-9


def test_a_hot_key_is_named_first_among_twenty_thousand_cold_ones() -> None:
    keys = np.random.default_rng(1).permutation(np.concatenate([np.full(1_000, 7), np.arange(10, 20_010)]))
    sketch = counted(np.array_split(keys.astype(np.uint64), 20), 64)
    assert sketch.top(1).keys.tolist() == [7]
    assert sketch.top(1).least[0] > 0


def test_one_counter_is_too_few() -> None:
    with pytest.raises(SettingError, match="at least 2 counters, not 1"):
        SpaceSaving(1)
