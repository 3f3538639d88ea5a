"""What every store of baselines promises, and what it answers when it cannot keep the promise.

A store maps names to histories. Histories grow at the end; only `Store.prune` and `Store.rename` touch what is already
kept, and nothing that cannot be read is ever thrown away: it is reported with its place instead. A change either
happens as a whole or not at all, even if the writer is killed or the disk is full, and concurrent writers lose nothing.
"""

# ruff: noqa: N818 - each error is named by what is wrong; that it is one, its base class says.
from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Protocol

from pytest_supervm.model import History, Run

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""What a baseline may be called: a plain file name on every system, and never a path, an option or a hidden file."""

LONGEST_NAME = 200
"""Characters of a name; file systems allow 255 with the ending."""


class Store(Protocol):
    """Named histories of runs."""

    def names(self) -> tuple[str, ...]:
        """Return the known names, sorted; none when nothing was ever saved.

        Raises
        ------
        StoreUnreadable
            The store is there and cannot be read.
        """
        ...

    def load(self, name: str) -> History:
        """Return the runs kept under `name`, oldest first, and what could not be read.

        Raises
        ------
        InvalidName, UnknownBaseline, StoreUnreadable
        """
        ...

    def append(self, name: str, run: Run) -> None:
        """Add `run` to the history `name`, which begins with its first run. On return the run is on disk.

        Raises
        ------
        InvalidName, StoreUnwritable
        UnsoundRun
            The run holds something that `load` would refuse.
        """
        ...

    def prune(self, name: str, keep: int) -> int:
        """Remove the oldest readable runs but the newest `keep` (at least 1), and return how many were removed.

        Raises
        ------
        InvalidName, UnknownBaseline, StoreUnreadable, StoreUnwritable
        """
        ...

    def rename(self, old: str, new: str) -> None:
        """Call the history `old` `new` from now on.

        Raises
        ------
        InvalidName, UnknownBaseline, StoreUnwritable
        NameTaken
            There is a history `new` already; it is left alone.
        """
        ...


class BaselineError(Exception):
    """A baseline cannot be read or kept. The message is one sentence: what happened, why, and what to do."""


class InvalidName(BaselineError):
    """The name cannot be one of a baseline."""


class UnknownBaseline(BaselineError):
    """Nothing is kept under that name. The message lists the known names and how to save one."""

    def __init__(self, name: str, place: object, known: Iterable[str]) -> None:
        names = ", ".join(known)
        super().__init__(
            f"there is no baseline {name!r} in {place} ({f'known: {names}' if names else 'it holds none yet'}): "
            f"save one with pytest --supervm-save={name}"
        )


class NameTaken(BaselineError):
    """A baseline cannot be given a name that another one has."""


class UnsoundRun(BaselineError):
    """A run holds something that could not be read back."""


class StoreUnreadable(BaselineError):
    """The operating system does not let us read the store."""


class StoreUnwritable(BaselineError):
    """The operating system does not let us write the store. The message says what was changed, as a rule nothing."""


class UnsupportedStore(BaselineError):
    """There is no kind of store for this location."""


def check_name(name: str) -> str:
    """Return `name` if it can be one of a baseline.

    Raises
    ------
    InvalidName
        It cannot; the message says what a name consists of.
    """
    if NAME.fullmatch(name) and len(name) <= LONGEST_NAME:
        return name
    raise InvalidName(
        f"{name if len(name) <= LONGEST_NAME else name[:20] + '...'!r} cannot be the name of a baseline: begin with a "
        f"letter or digit and go on with letters, digits, dots, hyphens and underscores, {LONGEST_NAME} at most"
    )
