"""Memory, the garbage collector, and the wait for a core.

Peak memory is the growth of the process's high-water mark of resident memory: the mark is reset (Linux:
``/proc/self/clear_refs``), the work runs once, and the mark is compared with what was resident before. Freed memory is
returned to the system first, so that the growth shows what the work needs and not what earlier tests left lying about.
The kernel counts pages in batches per thread: figures below a megabyte are coarse.

Run delay is the time that the measuring thread was ready to run and another had the core, as a share of wall time (the
scheduler's own account, ``/proc/thread-self/schedstat``). Where it is high, the machine was busy with something else,
and wall times say as much about that as about the code.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
from collections.abc import Callable, Iterator
from pathlib import Path

from pytest_supervm.model import STANDARD_METRICS, Series

CLEAR_REFS = Path("/proc/self/clear_refs")
STATUS = Path("/proc/self/status")
SCHEDSTAT = Path("/proc/thread-self/schedstat")
RESET_HIGH_WATER_MARK = "5"
"""Value of clear_refs that resets the mark (man 5 proc)."""

FROZEN_AT_STARTUP = 1000
"""Objects that an interpreter may set aside of its own accord (375 in Python 3.12.1, anew at each collection); somebody
who froze the heap of a process that runs pytest froze tens of thousands."""


def peak_memory(work: Callable[[], object], setup: Callable[[], object] | None) -> Series:
    """Run `work` once and return the growth of the high-water mark in bytes, or why it cannot be had."""
    metric = STANDARD_METRICS["peak_memory"]
    if setup is not None:
        setup()
    gc.collect()
    _return_freed_memory()
    try:
        CLEAR_REFS.write_text(RESET_HIGH_WATER_MARK)
        before, _ = _status("VmRSS"), _status("VmHWM")
    except (OSError, KeyError) as error:
        return Series(metric=metric, unmeasured=f"this system does not reset the high-water mark of memory ({error})")
    work()  # outside the try: its errors are the test's own
    return Series(metric=metric, launches=((float(max(_status("VmHWM") - before, 0)),),))


@contextlib.contextmanager
def settled_heap() -> Iterator[str]:
    """Collect garbage and set aside what is alive.

    A collection during the work then looks at the work's own objects only, whatever earlier tests left. Where somebody
    froze the heap before, it is left so, since thawing ours would thaw theirs. Yields the collector's state in words;
    whether it runs is left as the test set it.
    """
    gc.collect()
    ours = gc.get_freeze_count() <= FROZEN_AT_STARTUP
    if ours:
        gc.freeze()
    aside = "older objects set aside" if ours else "only what was frozen before is set aside"
    try:
        yield f"{'enabled' if gc.isenabled() else 'disabled'}, {aside}"
    finally:
        if ours:
            gc.unfreeze()


def run_delay() -> int | None:
    """Return the nanoseconds that this thread has waited for a core since it started; None where nobody counts them."""
    try:
        return int(SCHEDSTAT.read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None


def _status(field: str) -> int:
    """Read a field of /proc/self/status, in bytes."""
    for line in STATUS.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise KeyError(field)


def _return_freed_memory() -> None:
    """Ask the C library to give freed memory back; only glibc can."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
