"""Where numbers are kept: named histories of runs, today as files in a folder.

The rest of the laboratory asks `open_store` for a `Store` and knows nothing about what is behind it. Every failure is
a `BaselineError` whose message says what happened, why, and what to do.
"""

from __future__ import annotations

from pathlib import Path

from pytest_supervm.baselines.files import FileStore
from pytest_supervm.baselines.store import (
    BaselineError,
    InvalidName,
    NameTaken,
    Store,
    StoreUnreadable,
    StoreUnwritable,
    UnknownBaseline,
    UnsoundRun,
    UnsupportedStore,
    check_name,
)

__all__ = [
    "BaselineError",
    "FileStore",
    "InvalidName",
    "NameTaken",
    "Store",
    "StoreUnreadable",
    "StoreUnwritable",
    "UnknownBaseline",
    "UnsoundRun",
    "UnsupportedStore",
    "check_name",
    "open_store",
]


def open_store(location: str | Path, root: Path) -> Store:
    """Return the store at `location`; nothing is read or created yet.

    Parameters
    ----------
    location
        A folder, absolute or relative to `root`. Messages name it as it is given here.
    root
        The project's root directory.

    Raises
    ------
    UnsupportedStore
        The location is a URL.
    """
    scheme, separator, _ = str(location).partition("://")
    if separator:  # only the scheme is repeated: the rest may hold a password
        raise UnsupportedStore(
            f"a store at {scheme}://... is not supported, baselines are kept in a folder: give the path of one"
        )
    shown = Path(location).expanduser()
    return FileStore(root / shown, shown)
