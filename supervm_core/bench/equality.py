"""The equality check: what a batch should come to, and whether somebody came to it.

The specification takes seconds for what a kernel does in milliseconds. So it executes the beginning of the batch, and
the compiled sequential kernel the whole; whoever is checked must equal both, receipts and state root.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from supervm_core import reference
from supervm_core.engine import SuperVM
from supervm_core.state import State
from supervm_core.transactions import Batch, Receipts

CHECKED = 8_192
"""Transactions of the batch that the specification executes too: enough for two shards of the partitioned path."""

TIMED = 2_000
"""Transactions of the batch over which the specification is timed."""

KERNEL = "the sequential kernel's"
SPECIFICATION = "the specification's"


@dataclass(frozen=True)
class Expected:
    """What a batch should come to, on the ledger where it begins."""

    batch: Batch
    receipts: Receipts
    root: bytes
    head: Batch
    """The beginning of the batch; all of it where it is short."""
    head_receipts: Receipts
    head_root: bytes

    @classmethod
    def of(cls, state: State, batch: Batch) -> Expected:
        """Execute the batch by the sequential kernel, and its beginning by the specification. The state stays."""
        kernel = SuperVM(state, executor="sequential")
        receipts, root = kernel.execute(batch), kernel.root()
        head, specified = batch[:CHECKED], state.copy()
        return cls(batch, receipts, root, head, reference.execute(specified, head), specified.root())

    def difference(self, vm: SuperVM) -> str | None:
        """Execute both on a machine and say what differs first; None if nothing does.

        The machine is reset before and after. It must begin with the state that this was made for.
        """
        vm.reset()
        receipts = vm.execute(self.head)
        found = _compare(receipts, vm.root(), self.head_receipts, self.head_root, SPECIFICATION)
        vm.reset()
        if found is None:
            found = self.difference_after(vm, vm.execute(self.batch))
            vm.reset()
        return found

    def difference_after(self, vm: SuperVM, receipts: Receipts) -> str | None:
        """Say what differs after the whole batch was executed once; None if nothing does."""
        return _compare(receipts, vm.root(), self.receipts, self.root, KERNEL)


def prepared(vm: SuperVM, batch: Batch) -> Callable[[], Receipts]:
    """Reset the machine, and return the execution of the batch."""
    vm.reset()
    return lambda: vm.execute(batch)


def _compare(receipts: Receipts, root: bytes, expected: Receipts, expected_root: bytes, whose: str) -> str | None:
    if len(receipts) != len(expected):
        return f"{len(receipts)} receipts for {len(expected)} transactions"
    if receipts != expected:
        differs = (receipts.status != expected.status) | (receipts.gas_used != expected.gas_used)
        number, first = int(np.count_nonzero(differs)), int(np.argmax(differs))
        return f"{number} of {len(expected)} receipts differ from {whose}, the first at transaction {first}"
    if root != expected_root:
        return f"the state root after {len(expected)} transactions differs from {whose}"
    return None
