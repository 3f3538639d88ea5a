"""What a test author asks for: `measure`, and the subject ready to run (`vm`, `workload`).

This is the one module of the laboratory that knows the subject; the subject is imported when a test asks for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from pytest_supervm.cases import INSTRUMENTS

if TYPE_CHECKING:
    from pytest_supervm.measure.instrument import Measure
    from supervm_core.engine import SuperVM
    from supervm_core.transactions import Batch


ACCOUNTS = 100_000
"""Accounts of the fixture `vm`, and the key space of `workload`."""

SLOTS = 100_000
"""Storage words of the fixture `vm`, and the key space of `workload`'s calls."""

BALANCE = 1_000_000_000_000
"""What each account of the fixture `vm` holds: more than any number of repetitions will spend."""


@pytest.fixture
def measure(request: pytest.FixtureRequest) -> Measure:
    """Measure a call: ``measure(function, *args, work=1, unit="op", setup=None)`` returns the call's result.

    Without a ``--supervm`` option the function is called once. ``measure.record(name, value, unit=..., better=...)``
    adds another figure, ``measure.latency(samples_or_histogram)`` latencies that the subject recorded itself.
    """
    from pytest_supervm.measure.instrument import Measure

    instruments = request.config.stash.get(INSTRUMENTS, None)
    return instruments.instrument(request.node) if instruments is not None else Measure()


@pytest.fixture
def vm() -> SuperVM:
    """A fresh `supervm_core.SuperVM` with funded accounts and storage; ``vm.execute(batch)`` returns receipts."""
    from supervm_core.engine import SuperVM

    return SuperVM.with_accounts(ACCOUNTS, balance=BALANCE, slots=SLOTS)


@pytest.fixture
def workload() -> Callable[..., Batch]:
    """Make a batch for `vm`: ``workload("transfer", txs=10_000)``; the same parameters give the same bytes.

    Transactions are unordered unless ``nonces="strict"`` is asked for, so that a batch may be executed again and again.
    """
    from supervm_core.workloads import workload as make

    def batch(kind: str, **parameters: object) -> Batch:
        ledger = {"accounts": ACCOUNTS} if kind == "transfer" else {"accounts": ACCOUNTS, "slots": SLOTS}
        return make(kind, **{**ledger, **parameters})

    return batch
