"""What would falsify a measurement is found and named; what is at rest is not."""

from __future__ import annotations

import cProfile
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from pytest_supervm.measure import observers


@pytest.fixture(autouse=True)
def no_other_observer() -> Iterator[None]:
    """Set aside whatever watches these tests themselves, and put it back."""
    trace, profile, tracing = sys.gettrace(), sys.getprofile(), tracemalloc.is_tracing()
    thread_trace, thread_profile = threading.gettrace(), threading.getprofile()
    sys.settrace(None)
    sys.setprofile(None)
    threading.settrace(None)  # type: ignore[arg-type]
    threading.setprofile(None)
    tracemalloc.stop()
    if observers.active():
        pytest.skip("something watches these tests that cannot be set aside")
    yield
    if tracing:
        tracemalloc.start()
    threading.setprofile(thread_profile)
    threading.settrace(thread_trace)  # type: ignore[arg-type]
    sys.setprofile(profile)
    sys.settrace(trace)


def watch(*_: object) -> None:
    return None


def test_nothing_is_found_where_nothing_watches() -> None:
    assert observers.active() is None


def test_a_trace_function_is_found_and_its_module_named() -> None:
    sys.settrace(watch)
    found = observers.active()
    sys.settrace(None)
    assert found == f"a trace function ({__name__}) is active"
    assert observers.active() is None


def test_a_trace_function_for_threads_yet_to_start_is_found() -> None:
    threading.settrace(watch)
    assert "trace function" in (observers.active() or "")


def test_a_profile_function_is_found_here_and_for_threads_yet_to_start() -> None:
    sys.setprofile(watch)
    found = observers.active()
    sys.setprofile(None)
    assert found == f"a profile function ({__name__}) is active"
    threading.setprofile(watch)
    assert "profile function" in (observers.active() or "")


def test_cprofile_is_found_whichever_way_this_python_runs_it() -> None:
    profiler = cProfile.Profile()
    profiler.enable()
    found = observers.active()
    profiler.disable()
    assert found is not None
    assert "rofile" in found
    assert observers.active() is None


def test_tracemalloc_is_found() -> None:
    tracemalloc.start()
    found = observers.active()
    tracemalloc.stop()
    assert found == "tracemalloc is tracing allocations"


@pytest.mark.parametrize(
    ("tools", "events", "found"),
    [
        ({}, {}, None),
        ({1: "coverage"}, {1: 0}, None),
        ({1: "coverage"}, {1: 64}, "the monitoring tool 'coverage' is active"),
        ({0: "idle", 5: "own tool"}, {0: 0, 5: 1}, "the monitoring tool 'own tool' is active"),
    ],
    ids=["no tool", "at rest", "coverage", "last id"],
)
def test_monitoring_tools_are_found_when_they_ask_for_events(
    monkeypatch: pytest.MonkeyPatch, tools: dict[int, str], events: dict[int, int], found: str | None
) -> None:
    monitoring = SimpleNamespace(get_tool=tools.get, get_events=events.__getitem__)
    monkeypatch.setattr(sys, "monitoring", monitoring, raising=False)
    assert observers.active() == found


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring came with Python 3.12")
def test_a_real_monitoring_tool_is_found() -> None:
    monitoring = sys.monitoring
    monitoring.use_tool_id(monitoring.OPTIMIZER_ID, "a test")
    try:
        assert observers.active() is None
        monitoring.set_events(monitoring.OPTIMIZER_ID, monitoring.events.PY_START)
        assert observers.active() == "the monitoring tool 'a test' is active"
        monitoring.set_events(monitoring.OPTIMIZER_ID, 0)
    finally:
        monitoring.free_tool_id(monitoring.OPTIMIZER_ID)
