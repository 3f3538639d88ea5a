"""Executing a batch twice, as specified and otherwise, and comparing everything."""

from __future__ import annotations

from collections.abc import Callable

from supervm_core import reference
from supervm_core.state import State
from supervm_core.transactions import Batch, Receipts, Status

Execute = Callable[[State, Batch], Receipts]


def assert_equal_executions(state: State, batch: Batch, execute: Execute) -> Receipts:
    """Hold `execute` to the specification, and give the receipts."""
    specified, executed = state.copy(), state.copy()
    expected = reference.execute(specified, batch)
    receipts = execute(executed, batch)
    assert [Status(status) for status in receipts.status] == [Status(status) for status in expected.status]
    assert receipts.gas_used.tolist() == expected.gas_used.tolist()
    assert executed.balances.tolist() == specified.balances.tolist()
    assert executed.nonces.tolist() == specified.nonces.tolist()
    assert executed.storage.tolist() == specified.storage.tolist()
    assert executed.root() == specified.root() == reference.state_root(specified)
    return receipts
