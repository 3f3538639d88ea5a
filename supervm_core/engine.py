"""The facade: a ledger that executes batches.

    vm = SuperVM.with_accounts(100_000, balance=1_000_000)
    receipts = vm.execute(transfers(10_000, accounts=100_000))
    receipts.failed, vm.root().hex()

Which executor does the work changes how long it takes and nothing else. Executors load when they are first used:
importing this module, or building a `SuperVM`, loads neither numba nor compiled code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from supervm_core.errors import UnknownNameError
from supervm_core.state import State
from supervm_core.transactions import Batch, Receipts

Executor = Literal["sequential", "reference"]
Execute = Callable[[State, Batch], Receipts]


def _sequential() -> Execute:
    from supervm_core.execution import sequential

    return sequential.execute


def _reference() -> Execute:
    from supervm_core import reference

    return reference.execute


_EXECUTORS: dict[str, Callable[[], Execute]] = {"sequential": _sequential, "reference": _reference}


class SuperVM:
    """A ledger and the executor that applies batches to it.

    Parameters
    ----------
    state : State
        Where the ledger begins. It is copied: the caller's stays as it is.
    executor : {"sequential", "reference"}
        The compiled sequential kernel, or the specification itself.

    Raises
    ------
    UnknownNameError
        If there is no such executor.

    Attributes
    ----------
    state : State
        The ledger now. Changes with every batch; `copy` it to keep it.
    """

    def __init__(self, state: State, *, executor: Executor = "sequential") -> None:
        if executor not in _EXECUTORS:
            raise UnknownNameError(f"there is no executor {executor!r}; known are {', '.join(_EXECUTORS)}")
        self.executor = executor
        self.state = state.copy()
        self._beginning = state.copy()
        self._execute: Execute | None = None

    @classmethod
    def with_accounts(
        cls, accounts: int, *, balance: int = 0, slots: int = 0, executor: Executor = "sequential"
    ) -> SuperVM:
        """A ledger of `accounts` accounts that all hold `balance`, and `slots` zero words of storage."""
        return cls(State.with_accounts(accounts, balance=balance, slots=slots), executor=executor)

    def execute(self, batch: Batch) -> Receipts:
        """Apply a batch to the ledger.

        Parameters
        ----------
        batch : Batch
            Any; a transaction that fails says so in its receipt.

        Returns
        -------
        Receipts
            One per transaction, in columns that are never used again.

        Raises
        ------
        MissingDependencyError
            If the executor needs a package that is not installed; the state is as it was.
        """
        if self._execute is None:
            self._execute = _EXECUTORS[self.executor]()
        return self._execute(self.state, batch)

    def root(self) -> bytes:
        """The 32-byte digest of the ledger now."""
        return self.state.root()

    def reset(self) -> None:
        """Go back to the beginning, in place: three memory copies."""
        self.state.assign(self._beginning)

    def __repr__(self) -> str:
        return f"<SuperVM, {self.executor} executor, {self.state!r}>"
