"""The ledger between two transactions: three flat arrays and the digest that names their contents.

Accounts are dense indices 0..accounts-1, each with a balance and the nonce that its next ordered transaction must
carry; contract storage is one array of words, addressed 0..slots-1 and shared by all programs. Every number is an
unsigned 64-bit integer. What may be done to a state is the business of `supervm_core.reference`.

The root is BLAKE2b with a 32-byte digest, unkeyed, over these bytes, every number little-endian on 8 bytes:

    16 bytes        the tag b"supervm-state-v1"
     8              number of accounts
     8              number of slots
     8 x accounts   balances, by account
     8 x accounts   nonces, by account
     8 x slots      storage words, by slot

The encoding is dense and every length stands before what it measures, so two states have equal encodings only if they
are equal. `supervm_core.reference.state_root` says the same number by number; `State.root` hands whole arrays to the
hash, about a gigabyte a second.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

from supervm_core.columns import U64, as_column
from supervm_core.errors import StateError

ROOT_TAG = b"supervm-state-v1"
ROOT_BYTES = 32


class State:
    """Balances, nonces and storage.

    Parameters
    ----------
    balances : array_like of uint64, shape (accounts,)
        Balance of each account. The state keeps a copy of its own.
    nonces : array_like of uint64, shape (accounts,), optional
        Next nonce of each account; 0 for all when left out.
    storage : array_like of uint64, shape (slots,), optional
        Contract storage; no slots when left out.

    Raises
    ------
    StateError
        If a value is not an unsigned 64-bit integer, or the lengths disagree.

    Attributes
    ----------
    balances, nonces, storage : ndarray of uint64
        Contiguous and writable; executors change them in place.
    """

    __slots__ = ("balances", "nonces", "storage")
    __hash__ = None  # type: ignore[assignment]  # mutable: use root() where a key is wanted

    balances: U64
    nonces: U64
    storage: U64

    def __init__(self, balances: ArrayLike, nonces: ArrayLike | None = None, storage: ArrayLike | None = None) -> None:
        self.balances = _owned("balances", balances)
        self.nonces = np.zeros_like(self.balances) if nonces is None else _owned("nonces", nonces)
        self.storage = np.zeros(0, np.uint64) if storage is None else _owned("storage", storage)
        if self.nonces.size != self.balances.size:
            raise StateError(f"{self.balances.size} balances but {self.nonces.size} nonces; an account has one of each")

    @classmethod
    def with_accounts(cls, accounts: int, *, balance: int = 0, slots: int = 0) -> State:
        """A state of `accounts` accounts that all hold `balance`, and `slots` zero words of storage."""
        if accounts < 0 or slots < 0:
            raise StateError(f"a state cannot have {accounts} accounts and {slots} slots; neither may be negative")
        one = _owned("balance", [balance])
        return cls(np.repeat(one, accounts), storage=np.zeros(slots, np.uint64))

    @property
    def accounts(self) -> int:
        """Number of accounts."""
        return self.balances.size

    @property
    def slots(self) -> int:
        """Number of storage words."""
        return self.storage.size

    def copy(self) -> State:
        """An equal state that shares no memory with this one."""
        return State(self.balances, self.nonces, self.storage)

    def assign(self, other: State) -> None:
        """Become equal to `other`, keeping the arrays (three memory copies, no allocation).

        Raises
        ------
        StateError
            If the two differ in their number of accounts or slots.
        """
        if (self.accounts, self.slots) != (other.accounts, other.slots):
            raise StateError(
                f"a state of {other.accounts} accounts and {other.slots} slots does not fit into one of "
                f"{self.accounts} and {self.slots}"
            )
        self.balances[:] = other.balances
        self.nonces[:] = other.nonces
        self.storage[:] = other.storage

    def root(self) -> bytes:
        """The 32-byte digest of the encoding that this module describes; equal states have equal roots."""
        digest = hashlib.blake2b(ROOT_TAG, digest_size=ROOT_BYTES)
        digest.update(np.array([self.accounts, self.slots], "<u8").tobytes())
        for array in (self.balances, self.nonces, self.storage):
            # On a little-endian machine this is the array itself, not a copy.
            digest.update(array.astype("<u8", copy=False).data)
        return digest.digest()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, State):
            return NotImplemented
        return (
            np.array_equal(self.balances, other.balances)
            and np.array_equal(self.nonces, other.nonces)
            and np.array_equal(self.storage, other.storage)
        )

    def __repr__(self) -> str:
        return f"<State of {self.accounts} accounts and {self.slots} slots, root {self.root().hex()[:12]}>"


def _owned(name: str, values: ArrayLike) -> NDArray[np.uint64]:
    column = as_column(name, values, np.uint64, StateError)
    if column.ndim != 1:
        raise StateError(f"{name!r} has {column.ndim} dimensions; one number per place is wanted")
    return column.copy()
