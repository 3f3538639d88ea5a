"""The root names a state's contents, on every machine and for good."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervm_core.columns import UINT64_MAX
from supervm_core.errors import StateError
from supervm_core.reference import state_root
from supervm_core.state import State

words = st.integers(0, UINT64_MAX)


@st.composite
def states(draw: st.DrawFn) -> State:
    accounts = draw(st.integers(0, 4))
    column = st.lists(words, min_size=accounts, max_size=accounts)
    return State(draw(column), draw(column), draw(st.lists(words, max_size=4)))


def test_root_of_a_known_state() -> None:
    """Written down once. If it changes, every root that anybody has kept becomes worthless: raise the tag's version."""
    state = State([1, UINT64_MAX], [0, 0x0102030405060708], [42])
    encoding = bytes.fromhex(
        "73757065 72766d2d 73746174 652d7631"
        "0200000000000000 0100000000000000"
        "0100000000000000 ffffffffffffffff"
        "0000000000000000 0807060504030201"
        "2a00000000000000"
    )
    assert state.root() == hashlib.blake2b(encoding, digest_size=32).digest()
    assert state.root().hex() == "993c0f55171eb4c3c8cb13490203ebd24458afa25ac5803fc8821d18066e7d99"
    assert State([]).root().hex() == "1c753b0be78278ebc9c5d57afec718a684a8d4124621bd3ba4ecb43e73a9b9c5"


@given(states())
def test_fast_root_equals_specified_root(state: State) -> None:
    assert state.root() == state_root(state)


@given(states(), states())
def test_roots_are_equal_exactly_for_equal_states(one: State, other: State) -> None:
    assert (one.root() == other.root()) == (one == other)
    assert one.root() == one.copy().root()


def test_words_cannot_move_between_arrays_unnoticed() -> None:
    """The same numbers in the same order, divided differently."""
    assert State([1, 2], [3, 4], []).root() != State([1], [2], [3, 4]).root()


def test_copy_shares_nothing() -> None:
    given_balances = np.array([1, 2], np.uint64)
    state = State(given_balances)
    twin = state.copy()
    state.balances[0] = 9
    assert twin.balances.tolist() == given_balances.tolist() == [1, 2]


def test_assign_keeps_the_arrays() -> None:
    state, other = State([1], [2], [3]), State([4], [5], [6])
    balances = state.balances
    state.assign(other)
    assert state == other
    assert state.balances is balances
    assert not np.shares_memory(state.storage, other.storage)


def test_assign_refuses_another_size() -> None:
    with pytest.raises(StateError, match="2 accounts and 0 slots does not fit into one of 1 and 0"):
        State([1]).assign(State([1, 2]))


def test_with_accounts() -> None:
    assert State.with_accounts(2, balance=5, slots=1) == State([5, 5], [0, 0], [0])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: State([1, 2], [0]), "2 balances but 1 nonces"),
        (lambda: State([-1]), "'balances' holds -1 at position 0"),
        (lambda: State([[1]]), "'balances' has 2 dimensions"),
        (lambda: State([1], storage=[0.5]), "'storage' holds 0.5"),
        (lambda: State.with_accounts(-1), "cannot have -1 accounts"),
        (lambda: State.with_accounts(1, balance=2**64), "'balance' holds 18446744073709551616"),
    ],
)
def test_unfit_arrays_are_refused_by_name(build: object, message: str) -> None:
    with pytest.raises(StateError, match=message):
        build()
