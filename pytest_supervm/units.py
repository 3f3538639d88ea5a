"""Quantities with units: read what a person writes (``100 ms``, ``2 GB``, ``5%``) and write what a person reads.

Inside the laboratory every value is in the base unit of its dimension: seconds, bytes, a plain ratio, or a count of
whatever the test counts. Prefixes of bytes are decimal (2 GB is 2 * 10**9 bytes); KiB, MiB and GiB are binary.
"""

from __future__ import annotations

import math
import re

TIME = {
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
    "\N{MICRO SIGN}s": 1e-6,
    "\N{GREEK SMALL LETTER MU}s": 1e-6,
    "ns": 1e-9,
    "min": 60.0,
    "h": 3600.0,
}
BYTES = {"B": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
RATIO = {"": 1.0, "%": 1e-2}
RATE = "1/s"
"""Unit of a throughput whose unit of work is not known yet."""

DIMENSIONS: tuple[dict[str, float], ...] = (TIME, BYTES, RATIO)

_QUANTITY = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(\S*(?:\s\S+)*)\s*")


class UnitError(ValueError):
    """A quantity that cannot be read. The message names the known units."""


def base_unit(unit: str) -> str:
    """Return the base unit that values in `unit` are kept in: ``s``, ``B``, ``ratio``, or `unit` itself for counts."""
    if unit in TIME:
        return "s"
    if unit in BYTES:
        return "B"
    return "ratio" if unit in RATIO or unit == "ratio" else unit


def to_base(value: float, unit: str) -> float:
    """Convert `value` from `unit` to its base unit; counts are returned unchanged."""
    for dimension in DIMENSIONS:
        if unit in dimension:
            return value * dimension[unit]
    return value


def parse(text: str, unit: str) -> float:
    """Read a quantity of the dimension of the base unit `unit`.

    Parameters
    ----------
    text
        A number and a unit, ``"100 ms"``; for ratios also a percentage or a plain number; for counts a plain number,
        or a number followed by exactly `unit`; for the rate ``1/s`` any unit of work per second, ``"500 tx/s"``.
    unit
        Base unit: ``s``, ``B``, ``ratio``, or the name of a count such as ``tx/s``.

    Returns
    -------
    float
        The quantity in `unit`.

    Raises
    ------
    UnitError
        The text is no quantity, not finite, or of another dimension.
    """
    match = _QUANTITY.fullmatch(text)
    known = {"s": TIME, "B": BYTES, "ratio": RATIO}.get(unit, {"": 1.0, unit: 1.0})
    if match and unit == RATE and match[2].endswith("/s"):
        known = {match[2]: 1.0}
    if match and match[2] in known and math.isfinite(value := float(match[1]) * known[match[2]]):
        return value
    names = ", ".join(name or "(none)" for name in known)
    raise UnitError(f"{text!r} is not a quantity in {unit}: write a number and one of the units {names}")


def percentage(text: str) -> float:
    """Read ``"5%"`` as 0.05.

    Raises
    ------
    UnitError
        The text is not a percentage above zero.
    """
    match = _QUANTITY.fullmatch(text)
    if not match or match[2] != "%" or not 0 < (value := float(match[1]) / 100) < math.inf:
        raise UnitError(f'{text!r} is not a percentage: write a number above 0 and %, such as "5%"')
    return value


def quantity(value: float | None, unit: str | None) -> str:
    """Write a value for people, with three significant digits and a fitting prefix: ``1.24 M tx/s``, ``81.3 us``."""
    if value is None:
        return "-"
    value = float(f"{value:.3g}")  # rounded first, so that 999.96 ms is written as 1.00 s
    if unit == "ratio":
        return _significant(value)
    if unit == "s" or unit == "B":
        scale = ("ns", "us", "ms", "s") if unit == "s" else ("B", "kB", "MB", "GB", "TB")
        table = TIME if unit == "s" else BYTES
        chosen = next((name for name in reversed(scale) if abs(value) >= table[name]), scale[0])
        return f"{_significant(value / table[chosen])} {chosen}" if value else f"0 {unit}"
    for prefix, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= factor:
            return f"{_significant(value / factor)} {prefix}{' ' + unit if unit else ''}"
    if unit is not None and unit.startswith("s/"):
        return f"{quantity(value, 's')}{unit[1:]}"
    return f"{_significant(value)} {unit or ''}".rstrip()


def percent_change(log_ratio: float, digits: int = 1) -> str:
    """Write a log ratio as a signed change in percent: ``-3.1 %``; a hundredfold and more as a factor."""
    if log_ratio > math.log(100):
        return f"x{math.exp(min(log_ratio, 700)):.3g}"
    return f"{100 * math.expm1(log_ratio):+.{digits}f} %"


def _significant(value: float) -> str:
    """Three significant digits without an exponent where people would not write one."""
    if value == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(value)))
    if not -4 <= magnitude <= 6:
        return f"{value:.3g}"
    return f"{value:.{max(0, 2 - magnitude)}f}"
