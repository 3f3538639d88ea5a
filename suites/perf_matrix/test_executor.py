"""The performance matrix of the executor: throughput, latency, memory and failure rate by workload and batch size.

Every figure stands beside its equality check: the state root after the measured batch must be the specification's.
Nonces are strict, so a batch is valid once only, and `vm.reset` takes the ledger back before every call.
"""

from __future__ import annotations

import pytest

from supervm_core.engine import SuperVM


@pytest.fixture
def reference(vm):
    """The specification, on the same ledger as `vm`."""
    return SuperVM(vm.state, executor="reference")


@pytest.mark.perf
@pytest.mark.parametrize("txs", [10_000, 100_000])
@pytest.mark.parametrize("kind", ["transfer", "call", "mixed"])
def test_executor(vm, reference, workload, measure, kind, txs):
    batch = workload(kind, txs=txs, nonces="strict")
    reference.execute(batch)

    receipts = measure(vm.execute, batch, work=len(batch), unit="tx", setup=vm.reset)

    measure.record("failure_rate", receipts.failed / len(batch))
    assert vm.root() == reference.root()


@pytest.mark.perf
@pytest.mark.parametrize("partitions", [2, 4, 8])
def test_partitions(vm, reference, workload, measure, partitions):
    """Partitions lie on as many shards as suit the machine; with few cores, on one."""
    vm = SuperVM(vm.state, features=["partitioned-fastpath"], partitions=partitions)
    batch = workload("transfer", txs=100_000, nonces="strict")
    reference.execute(batch)

    receipts = measure(vm.execute, batch, work=len(batch), unit="tx", setup=vm.reset)

    measure.record("failure_rate", receipts.failed / len(batch))
    assert vm.root() == reference.root()
