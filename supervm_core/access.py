"""Access lists: what a call says in advance that it may touch.

A list names accounts and storage slots. A call that declares one may look at and change those, its sender and its
receiver, and nothing else; an executor can then tell without running anything which calls may go side by side. What
happens to a call that breaks its word is defined in `supervm_core.reference`.

All lists of a batch lie in two columns, one list behind the other: `places` has the accounts of a list and then its
slots, each in ascending order, and `bounds` says where they begin. Accounts of list i stand at
`places[bounds[2 * i] : bounds[2 * i + 1]]`, its slots from there to `bounds[2 * i + 2]`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from supervm_core.columns import U64, as_column, read_only
from supervm_core.errors import BatchError

NOTHING = np.zeros(0, np.uint64)


class AccessList(NamedTuple):
    """One list as plain numbers, in any order. Accounts and slots that no state has do no harm."""

    accounts: tuple[int, ...] = ()
    slots: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class AccessLists:
    """The access lists of a batch as columns.

    Parameters
    ----------
    counts : array_like of int, shape (2 * lists,)
        By list: how many accounts it names, then how many slots.
    places : array_like of int
        The accounts and slots that `counts` counts, in any order within their group.

    Raises
    ------
    BatchError
        If the counts do not add up to the number of places, or a number is no unsigned 64-bit integer.
    """

    bounds: U64
    places: U64

    def __init__(self, counts: ArrayLike = (), places: ArrayLike = ()) -> None:
        numbers = as_column("access list counts", counts, np.uint64, BatchError)
        named = as_column("access list places", places, np.uint64, BatchError)
        if numbers.ndim != 1 or numbers.size % 2 or named.ndim != 1:
            raise BatchError(
                f"access lists have counts of shape {numbers.shape} and places of shape {named.shape}; "
                "(2 * lists,) and (places,) are wanted"
            )
        total = sum(numbers.tolist())
        if total != named.size:
            raise BatchError(f"access lists count {total} places, and {named.size} are given")
        group = np.repeat(np.arange(numbers.size), numbers.astype(np.int64))
        object.__setattr__(self, "bounds", read_only(np.concatenate([[0], np.cumsum(numbers)]).astype(np.uint64)))
        object.__setattr__(self, "places", read_only(named[np.lexsort((named, group))]))

    @classmethod
    def of(cls, lists: Iterable[AccessList]) -> AccessLists:
        """Lay lists out as columns."""
        groups = [group for each in lists for group in each]
        return cls([len(group) for group in groups], [place for group in groups for place in group])

    @classmethod
    def joined(cls, tables: Sequence[AccessLists]) -> AccessLists:
        """The lists of several tables, one table behind the other."""
        counts = [np.diff(table.bounds) for table in tables]
        return cls(np.concatenate([*counts, NOTHING]), np.concatenate([*(table.places for table in tables), NOTHING]))

    def __len__(self) -> int:
        return self.bounds.size // 2

    def __getitem__(self, place: int) -> AccessList:
        if not 0 <= place < len(self):
            raise IndexError(f"there is no access list {place}, only {len(self)}")
        start, middle, end = self.bounds[2 * place : 2 * place + 3].tolist()
        return AccessList(tuple(self.places[start:middle].tolist()), tuple(self.places[middle:end].tolist()))

    def __repr__(self) -> str:
        return f"<{len(self)} AccessLists of {self.places.size} places>"
