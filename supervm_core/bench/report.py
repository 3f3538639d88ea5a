"""What a bench says: a row for each setting, as a table for people and as a file for programs.

The file is JSON, `{"schema", "machine", "rows"}`, the same form for every bench. It is written beside its destination
and then put in its place, so that whoever reads it finds the old one or the new one and never a part.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from supervm_core.bench.timing import Spread
from supervm_core.errors import SettingError

SCHEMA = "supervm-bench/1"
"""The form of the file. The number changes when a field changes its meaning or goes; new fields may come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One setting and what it achieved. Speeds are medians of the rounds; ratios are of figures of the same round."""

    bench: str
    """Which bench: `partitioned` or `mixed`."""
    workload: str
    """`transfers`, `calls` or `mixed`."""
    program: str | None = None
    """What calls ran: `short` (swap) or `long` (digest); null where the bench has no choice of it."""
    calls: float | None = None
    """Percent of the transactions that were meant to be calls; null where all or none are."""
    conflicts: float | None = None
    """Percent of the calls that share one pool; null if it was not asked for."""
    cross: float | None = None
    """Percent of the transactions that were meant to cross; null if receivers are wherever they were drawn."""
    crossing: float
    """Percent of the transactions whose receiver is in another partition than the sender."""
    zipf: float | None
    """Exponent of the senders' and receivers' Zipf law; null for uniform ones."""
    features: list[str]
    """The features that were on."""
    partitions: int
    """Into how many ranges the accounts were divided."""
    threads: int | None
    """Threads at most; null if it was left to the executor."""
    txs: int
    """Transactions of the batch."""
    accounts: int
    """Accounts of the ledger."""
    rounds: int
    """Rounds that counted."""
    seed: int
    """What the batch was drawn from."""
    tps: float
    """Transactions a second, from decoded columns to receipts, nonces included."""
    tps_low: float
    """The lower quartile of the rounds."""
    tps_high: float
    """The upper quartile of the rounds."""
    limit: float
    """Random read-modify-writes of as many balances a second, prefetched, uniform, one thread, in the same run."""
    over_half_limit: float
    """`tps` over half of `limit`."""
    reference_tps: float
    """Transactions a second of the specification, over the first 2,000 of the batch, in the same run."""
    over_reference: float
    """`tps` over `reference_tps`."""
    equal: bool
    """Whether receipts and state root were the sequential kernel's in every round, and the specification's on the first
    8,192 transactions."""
    difference: str | None
    """What differed first; null if nothing did."""


def machine() -> dict[str, str | int]:
    """Describe this machine by what makes figures comparable.

    Returns
    -------
    dict
        `cpu`, `cores` that this process may use, `memory_bytes`, `system`, `python`.
    """
    import cpuinfo
    import psutil

    return {
        "cpu": cpuinfo.get_cpu_info().get("brand_raw") or platform.processor() or "unknown",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory_bytes": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def table(column: str, names: Sequence[str], rows: Sequence[Row]) -> list[str]:
    """The lines of a table: what people compare, with the middle half of the rounds in brackets."""
    cells = [[column, "M tx/s", "over half the limit", "over reference", "equal"]]
    for name, row in zip(names, rows, strict=True):
        speed = Spread(*(tps / 1e6 for tps in (row.tps_low, row.tps, row.tps_high)))
        cells.append(
            [
                name,
                f"{number(speed.median)} [{number(speed.low)}, {number(speed.high)}]",
                number(row.over_half_limit),
                number(row.over_reference),
                "yes" if row.equal else "NO",
            ]
        )
    widths = [max(map(len, each)) for each in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]


def number(value: float) -> str:
    """Write a figure with three digits, and all of a larger one before its point: `0.512`, `58.3`, `1,234`."""
    return f"{value:,.0f}" if value >= 999.5 else f"{value:.3g}"


def require_writable(path: Path) -> None:
    """Find out, before anything is measured, whether `write_json` can write there.

    Raises
    ------
    SettingError
        If it cannot.
    """
    try:
        with tempfile.NamedTemporaryFile(dir=_target(path).parent, prefix=f".{path.name}."):
            pass
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of symbolic links, up to Python 3.12
        raise _refusal(path, error) from error


def write_json(rows: Sequence[Row], path: Path) -> None:
    """Write rows and the machine as JSON, whole or not at all.

    Raises
    ------
    SettingError
        If it cannot be written; what stood there still does.
    """
    content = {"schema": SCHEMA, "machine": machine(), "rows": [asdict(row) for row in rows]}
    draft: Path | None = None
    try:
        target = _target(path)
        with tempfile.NamedTemporaryFile(
            "w", dir=target.parent, prefix=f".{path.name}.", delete=False, encoding="utf-8"
        ) as file:
            draft = Path(file.name)
            file.write(json.dumps(content, indent=2) + "\n")
        draft.chmod(_mode(target))
        draft.replace(target)
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of symbolic links, up to Python 3.12
        raise _refusal(path, error) from error
    finally:
        if draft is not None:
            draft.unlink(missing_ok=True)


def _target(path: Path) -> Path:
    """The file itself, behind links, in a folder that exists."""
    target = path.resolve()
    if target.exists() and not target.is_file():
        raise SettingError(f"cannot write {path}: it exists and is not a file; name a file")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise SettingError(f"cannot write {path}: one of its folders is a file; name a folder that is one") from None
    return target


def _mode(target: Path) -> int:
    """The permissions of the file that is replaced, or those of a new one."""
    if target.exists():
        return target.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _refusal(path: Path, error: Exception) -> SettingError:
    return SettingError(
        f"cannot write {path}: {getattr(error, 'strerror', None) or error}; name a file that you may write"
    )
