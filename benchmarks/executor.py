"""The compiled sequential kernel against the specification it must equal, batch by batch in turns.

Both execute the same batch on the same ledger through `SuperVM.execute`; state roots and receipts are compared in every
round, and a round that differs ends the benchmark.
"""

from __future__ import annotations

import time

import numpy as np
import tables

from supervm_core import SuperVM
from supervm_core.workloads import workload

ROUNDS = 15
ACCOUNTS = 100_000
TXS = {"transfer": 20_000, "call": 5_000, "mixed": 10_000}


def seconds(vm: SuperVM, batch: object) -> tuple[float, object]:
    vm.reset()
    start = time.perf_counter()
    receipts = vm.execute(batch)
    return time.perf_counter() - start, receipts


def main() -> None:
    kernel = SuperVM.with_accounts(ACCOUNTS, balance=10**12, slots=ACCOUNTS)
    reference = SuperVM(kernel.state, executor="reference")
    rows = []
    for kind, txs in TXS.items():
        ledger = {"accounts": ACCOUNTS} | ({} if kind == "transfer" else {"slots": ACCOUNTS})
        batch = workload(kind, txs=txs, nonces="strict", **ledger)
        seconds(kernel, batch)
        fast, slow, ratios = [], [], []
        for _ in range(ROUNDS):
            a, receipts = seconds(kernel, batch)
            b, expected = seconds(reference, batch)
            if kernel.root() != reference.root() or not np.array_equal(receipts.status, expected.status):
                raise SystemExit(f"{kind}: the kernel differs from the specification")
            fast.append(txs / a / 1e6)
            slow.append(txs / b / 1e6)
            ratios.append(b / a)
        rows.append([kind, f"{txs:,}", tables.spread(fast), tables.spread(slow), tables.spread(ratios), "yes"])
    tables.write(
        "executor",
        "The compiled kernel over the specification",
        f"Millions of transactions a second, {ACCOUNTS:,} accounts, strict nonces, one thread, and the ratio of both "
        f"in the same round; {ROUNDS} rounds. Equal: state root and receipts were the specification's in every round.",
        ["workload", "batch", "kernel, M tx/s", "specification, M tx/s", "kernel / specification", "equal"],
        rows,
    )


if __name__ == "__main__":
    main()
