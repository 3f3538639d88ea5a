"""What watches every step of the interpreter: coverage, debuggers, profilers. Beside one, its own cost is measured."""

from __future__ import annotations

import sys
import threading
import tracemalloc

MONITORING_TOOLS = range(6)
"""Tool ids of PEP 669."""


def active() -> str | None:
    """Name what is watching this interpreter, or None."""
    if trace := sys.gettrace() or threading.gettrace():
        return f"a trace function ({_origin(trace)}) is active"
    if profile := sys.getprofile() or threading.getprofile():
        return f"a profile function ({_origin(profile)}) is active"
    if monitoring := getattr(sys, "monitoring", None):
        for tool in MONITORING_TOOLS:
            if (name := monitoring.get_tool(tool)) and monitoring.get_events(tool):
                return f"the monitoring tool {name!r} is active"
    if tracemalloc.is_tracing():
        return "tracemalloc is tracing allocations"
    return None


def _origin(function: object) -> str:
    """Name the module that a trace function comes from: ``coverage.tracer``."""
    return getattr(function, "__module__", None) or type(function).__module__
