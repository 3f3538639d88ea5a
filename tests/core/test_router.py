"""The facade equals the specification through any sequence of batches and settings, and each batch goes its way.

If these fail, what people get depends on which features are on.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from supervm_core.engine import SuperVM
from supervm_core.execution import ordered, partitioned, router
from supervm_core.execution.ordered import OrderedPath
from supervm_core.execution.partitioned import PartitionedPath
from supervm_core.features import FEATURES
from supervm_core.transactions import Batch
from supervm_core.wire import Directory, decode, encode
from supervm_core.workloads import calls, mixed, transfers

from .ledgers import SEARCH, area_batch, areas, payment_batch
from .test_wire import addresses

AREAS = 270


class Sequences(RuleBasedStateMachine):
    """Batches of all sorts on one ledger, with other features, partitions and threads in between."""

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        self.choose = Random(seed)
        state, _ = areas(self.choose, AREAS, 0)
        self.specified = SuperVM(state, executor="reference")
        self.executed = SuperVM(state, features=FEATURES)
        self.directory = Directory(addresses(state.accounts))

    @rule(
        on=st.sets(st.sampled_from(sorted(FEATURES))),
        partitions=st.integers(1, 9),
        threads=st.none() | st.integers(1, 3),
    )
    def other_features(self, on: set[str], partitions: int, threads: int | None) -> None:
        fresh = SuperVM(self.executed.state, features=on, partitions=partitions, threads=threads)
        fresh._beginning = self.executed._beginning
        self.executed = fresh

    @rule(partitions=st.integers(1, 9), threads=st.none() | st.integers(1, 3))
    def configure(self, partitions: int, threads: int | None) -> None:
        self.executed.configure(partitions=partitions, threads=threads)

    @rule(shared=st.sampled_from([0, 0.02, 0.3, 1]))
    def calls_and_others(self, shared: float) -> None:
        self.execute(area_batch(self.choose, self.specified.state, shared))

    @rule(size=st.integers(0, 200), edge=st.sampled_from([0, 0.02]))
    def payments(self, size: int, edge: float) -> None:
        self.execute(payment_batch(self.choose, self.specified.state, size, edge))

    @rule(size=st.integers(0, 200))
    def payments_by_wire(self, size: int) -> None:
        accounts = self.specified.state.accounts
        batch = transfers(size, accounts=accounts, seed=size)
        self.execute(decode(encode(batch, self.directory), self.directory))

    @rule()
    def reset(self) -> None:
        self.specified.reset()
        self.executed.reset()

    def execute(self, batch: Batch) -> None:
        assert self.executed.execute(batch) == self.specified.execute(batch)

    @invariant()
    def ledgers_are_equal(self) -> None:
        if hasattr(self, "specified"):
            assert self.executed.state == self.specified.state
            assert self.executed.root() == self.specified.root()


def test_any_sequence_of_batches_and_settings_equals_the_specification(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, value in [
        (router, "SMALL", 1),
        (router, "TRIAL", 40),
        (partitioned, "SHARD", 1),
        (ordered, "TASK", 64),
    ]:
        monkeypatch.setattr(module, name, value)
    Sequences.TestCase.settings = settings(SEARCH, max_examples=25, stateful_step_count=10)
    Sequences.TestCase().runTest()


PAYMENTS = transfers(600, accounts=50)
CALLS = calls(600, accounts=50, slots=9)
FEW_CALLS = Batch(
    kind=PAYMENTS.kind.copy() * 0 + ([3] * 60 + [0] * 540), sender=PAYMENTS.sender, receiver=PAYMENTS.receiver
)
SMALL = transfers(100, accounts=50)
MIXED = mixed(600, accounts=50, slots=9)
BOTH = "partitioned-fastpath", "consensus-optimizations"


@pytest.mark.parametrize(
    ("features", "batch", "way"),
    [
        ((), PAYMENTS, None),
        ((), CALLS, None),
        (BOTH, PAYMENTS, PartitionedPath),
        (BOTH, CALLS, OrderedPath),
        (BOTH, MIXED, OrderedPath),
        (BOTH, FEW_CALLS, None),
        (BOTH, SMALL, None),
        (BOTH[:1], PAYMENTS, PartitionedPath),
        (BOTH[:1], CALLS, None),
        (BOTH[1:], PAYMENTS, None),
        (BOTH[1:], CALLS, OrderedPath),
    ],
)
def test_batch_goes_the_way_that_suits_it(
    features: tuple[str, ...], batch: Batch, way: type | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(router, "SMALL", 512)
    gone = []
    for path in (PartitionedPath, OrderedPath):
        execute = path.execute
        monkeypatch.setattr(
            path, "execute", lambda self, *what, execute=execute: gone.append(type(self)) or execute(self, *what)
        )
    vm = SuperVM.with_accounts(50, balance=100, slots=9, features=features)
    vm.execute(batch)
    assert gone == ([] if way is None else [way])
