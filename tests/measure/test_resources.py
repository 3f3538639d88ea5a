"""Memory and the garbage collector: what is seen, what is not, and what is left behind."""

from __future__ import annotations

import gc
import platform
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pytest_supervm.measure import resources

MB = 1_000_000
COARSE = 8 * MB
"""More than the kernel's and the allocator's rounding, and far less than what the tests allocate."""


def growth(work: object, setup: object = None) -> float:
    series = resources.peak_memory(work, setup)  # type: ignore[arg-type]
    if series.unmeasured and not resources.CLEAR_REFS.exists():
        pytest.skip("this system does not reset the high-water mark")
    assert series.value is not None
    return series.value


def temporary(size: int) -> None:
    np.ones(size, np.uint8)


def test_a_temporary_of_50_mb_is_seen_though_it_is_gone_afterwards() -> None:
    assert 50 * MB - COARSE < growth(lambda: temporary(50 * MB)) < 50 * MB + COARSE


def test_what_an_earlier_test_used_is_not_seen() -> None:
    temporary(200 * MB)
    kept = np.ones(50 * MB, np.uint8)
    assert growth(lambda: None) < COARSE
    assert growth(lambda: temporary(20 * MB)) < 20 * MB + COARSE
    assert kept.size


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives freed memory back when asked")
def test_memory_freed_by_an_earlier_test_does_not_hide_what_the_work_needs() -> None:
    left = [bytes([1]) * 50_000 for _ in range(1000)]
    last = left[-1]  # it stands above the others, so that the C library keeps what they leave
    del left
    assert growth(lambda: [bytes([1]) * 50_000 for _ in range(1000)]) > 50 * MB - COARSE
    assert last


def test_garbage_of_an_earlier_test_does_not_make_room_for_the_work() -> None:
    class Cycle:
        pass

    cycle = Cycle()
    cycle.itself, cycle.load = cycle, np.ones(50 * MB, np.uint8)
    del cycle
    assert growth(lambda: (gc.collect(), temporary(50 * MB))) > 50 * MB - COARSE, "it must be gone before the work"


def test_setup_is_outside_the_peak() -> None:
    kept = []
    assert growth(lambda: None, lambda: kept.append(np.ones(50 * MB, np.uint8))) < COARSE
    assert len(kept) == 1


def test_the_work_runs_once() -> None:
    calls: list[str] = []
    resources.peak_memory(lambda: calls.append("work"), lambda: calls.append("setup"))
    assert calls == ["setup", "work"]


@pytest.mark.parametrize("error", [KeyError("VmRSS"), FileNotFoundError("the test's own"), ZeroDivisionError()])
@pytest.mark.parametrize("place", ["work", "setup"])
def test_an_error_of_the_work_is_not_taken_for_a_missing_proc(error: Exception, place: str) -> None:
    def fails() -> None:
        raise error

    def fine() -> None:
        pass

    with pytest.raises(type(error)) as caught:
        resources.peak_memory(*((fails, fine) if place == "work" else (fine, fails)))
    assert caught.value is error


@pytest.mark.parametrize("missing", ["CLEAR_REFS", "STATUS"])
def test_a_system_without_a_high_water_mark_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: str
) -> None:
    monkeypatch.setattr(resources, missing, tmp_path / "no such folder" / "file")
    series = resources.peak_memory(lambda: None, None)
    assert series.value is None
    assert "does not reset the high-water mark" in (series.unmeasured or "")


def test_a_status_without_a_high_water_mark_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmRSS:\t  100 kB\n")
    monkeypatch.setattr(resources, "STATUS", status)
    monkeypatch.setattr(resources, "CLEAR_REFS", tmp_path / "clear_refs")
    assert "'VmHWM'" in (resources.peak_memory(lambda: None, None).unmeasured or "")


@pytest.fixture
def collector() -> Iterator[None]:
    """The collector's state, put back afterwards."""
    enabled = gc.isenabled()
    gc.unfreeze()
    yield
    gc.unfreeze()
    (gc.enable if enabled else gc.disable)()


@pytest.mark.usefixtures("collector")
def test_older_objects_are_set_aside_for_the_time_of_the_measurement_only() -> None:
    with resources.settled_heap() as words:
        assert gc.get_freeze_count() > resources.FROZEN_AT_STARTUP
    assert gc.get_freeze_count() <= resources.FROZEN_AT_STARTUP
    assert words == "enabled, older objects set aside"


@pytest.mark.usefixtures("collector")
def test_an_error_leaves_nothing_frozen() -> None:
    with pytest.raises(ZeroDivisionError), resources.settled_heap():
        raise ZeroDivisionError
    assert gc.get_freeze_count() <= resources.FROZEN_AT_STARTUP


@pytest.mark.usefixtures("collector")
def test_what_the_subject_froze_stays_frozen_and_is_said() -> None:
    gc.freeze()
    frozen = gc.get_freeze_count()
    with resources.settled_heap() as words:
        inside = gc.get_freeze_count()
    assert inside == frozen
    assert gc.get_freeze_count() > resources.FROZEN_AT_STARTUP
    assert words == "enabled, only what was frozen before is set aside"


@pytest.mark.usefixtures("collector")
def test_the_few_objects_that_an_interpreter_freezes_itself_are_not_the_subjects(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = iter([375, 0])
    monkeypatch.setattr(gc, "get_freeze_count", lambda: next(counts))
    with resources.settled_heap() as words:
        pass
    assert words == "enabled, older objects set aside"


@pytest.mark.usefixtures("collector")
@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_runs_or_rests_as_the_test_set_it(enabled: bool) -> None:
    (gc.enable if enabled else gc.disable)()
    with resources.settled_heap() as words:
        assert gc.isenabled() is enabled
    assert gc.isenabled() is enabled
    assert words.startswith("enabled" if enabled else "disabled")


def test_run_delay_is_the_second_figure_of_the_schedulers_account(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    account = tmp_path / "schedstat"
    account.write_text("737105 91090 2\n")
    monkeypatch.setattr(resources, "SCHEDSTAT", account)
    assert resources.run_delay() == 91090


@pytest.mark.parametrize("text", [None, "", "737105\n", "a b c\n"])
def test_run_delay_is_unknown_where_nobody_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None
) -> None:
    account = tmp_path / "schedstat"
    if text is not None:
        account.write_text(text)
    monkeypatch.setattr(resources, "SCHEDSTAT", account)
    assert resources.run_delay() is None
