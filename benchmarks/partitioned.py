"""What the executor's paths achieve, beside what the machine could: every figure with its equality check.

`limit` is the physical bound: independent read-modify-writes of the same balances, uniform, prefetched, one thread. A
transfer changes two balances, so half of it is what transfers could reach if they cost nothing else. Ratios are of
figures taken in the same round, and the order of the figures is another in each round.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import tables

from supervm_core import SuperVM
from supervm_core.bench import BOTH, CHECKED, Expected, Timed, one_key, prepared, replaced, uniform_places
from supervm_core.bench.limit import read_modify_write
from supervm_core.bench.timing import Work
from supervm_core.execution import ordered, sequential
from supervm_core.execution.bookkeeping import NOWHERE
from supervm_core.execution.footprints import Footprints
from supervm_core.machine.crew import cores
from supervm_core.state import State
from supervm_core.transactions import Batch
from supervm_core.wire import Directory, decode, encode
from supervm_core.workloads import calls, transfers, zipf

ROUNDS = 9
ACCOUNTS = 1_000_000
TXS = 1_000_000
CALLS = 1_000_000
SPECIFIED = 5_000
"""Transactions over which the specification is timed: it takes seconds for a million."""


def expect(state: State, batch: Batch) -> Expected:
    """What the batch should come to; the kernel that says so must itself equal the specification."""
    expected = Expected.of(state, batch)
    hold(expected, SuperVM(state, executor="sequential"), "sequential")
    return expected


def hold(expected: Expected, vm: SuperVM, what: str) -> None:
    """End the run if the machine comes to something else."""
    difference = expected.difference(vm)
    if difference is not None:
        raise SystemExit(f"{what}: {difference}")


def timed(figures: Mapping[str, Callable[[], Work]]) -> Timed:
    taken = Timed()
    taken.rounds(figures, ROUNDS)
    return taken


def transfer_rows() -> list[list[str]]:
    state = State.with_accounts(ACCOUNTS, balance=10**12)
    batch = transfers(TXS, accounts=ACCOUNTS, nonces="strict")
    expected = expect(state, batch)
    places = uniform_places(TXS, accounts=ACCOUNTS)
    limit = state.balances.copy()
    figures = {"limit": lambda: partial(read_modify_write, limit, places)}
    vms = {f"P = {p}": SuperVM(state, features=BOTH, partitions=p) for p in (1, 2, 4, 8)}
    vms["P = 8 on two shards"] = SuperVM(state, features=BOTH, threads=2)
    vms["sequential"] = SuperVM(state)
    for name, vm in vms.items():
        hold(expected, vm, name)
        figures[name] = partial(prepared, vm, batch)
    specification, head = SuperVM(state, executor="reference"), batch[:SPECIFIED]
    figures["specification"] = partial(prepared, specification, head)
    taken = timed(figures)
    rows = [
        [
            f"transfers, {name}",
            f"{tables.spread(taken.per_second(name, TXS))} M tx/s",
            f"{tables.spread(taken.ratios(name, 'limit', 2))} of half the limit; "
            f"{tables.spread(taken.ratios(name, 'specification', TXS / SPECIFIED))} x specification",
        ]
        for name in ("sequential", *(name for name in vms if name != "sequential"))
    ]
    return [["limit", f"{tables.spread(taken.per_second('limit', TXS))} M writes/s", ""], *rows]


def skew_rows() -> list[list[str]]:
    state = State.with_accounts(ACCOUNTS, balance=10**12)
    uniform = transfers(TXS, accounts=ACCOUNTS)
    draws = {f"Zipf {e}": zipf(TXS, accounts=ACCOUNTS, exponent=e, seed=3) for e in (1.2, 1.5, 2.0)}
    draws["99 % one key"] = one_key(TXS, accounts=ACCOUNTS)
    batches = {"uniform": uniform} | {
        f"{name}, {column}": replaced(uniform, **{column: hot})
        for name, hot in draws.items()
        for column in ("sender", "receiver")
    }
    expected = {name: expect(state, batch) for name, batch in batches.items()}
    rows = []
    for way, threads in (("P = 8", None), ("P = 8 on two shards", 2)):
        vm = SuperVM(state, features=BOTH, threads=threads)
        figures = {}
        for name, batch in batches.items():
            hold(expected[name], vm, name)
            figures[name] = partial(prepared, vm, batch)
        taken = timed(figures)
        rows += [
            [f"transfers, {way}, {name}", f"{tables.spread(taken.per_second(name, TXS))} M tx/s",
             f"{tables.spread(taken.ratios(name, 'uniform'))} x uniform"]
            for name in batches
            if name != "uniform"
        ]  # fmt: skip
    return rows


def call_rows() -> list[list[str]]:
    state = State.with_accounts(ACCOUNTS, balance=10**12, slots=ACCOUNTS)
    long = calls(CALLS, accounts=ACCOUNTS, slots=ACCOUNTS, program="digest")
    arguments = long.arguments.copy()
    arguments[:, 0] = one_key(CALLS, accounts=ACCOUNTS)
    batches = {
        "long": long,
        "short": calls(CALLS, accounts=ACCOUNTS, slots=ACCOUNTS),
        "long, Zipf 1.2 sender": replaced(long, sender=zipf(CALLS, accounts=ACCOUNTS, exponent=1.2, seed=3)),
        "long, 99 % one slot": replaced(long, arguments=arguments),
    }
    rows = []
    for name, batch in batches.items():
        expected = expect(state, batch)
        figures = {"scalar": partial(prepared, SuperVM(state, executor="sequential"), batch)}
        for threads in (1, 2):
            vm = SuperVM(state, features=BOTH, threads=threads)
            hold(expected, vm, name)
            figures[f"{threads}"] = partial(prepared, vm, batch)
        taken = timed(figures)
        rows.append(
            [f"calls, {name}", f"{tables.spread(taken.per_second('2', CALLS))} M tx/s",
             f"2 threads {tables.spread(taken.ratios('2', 'scalar'))} x scalar kernel; 1 thread "
             f"{tables.spread(taken.ratios('1', 'scalar'))} x; 2 over 1 {tables.spread(taken.ratios('2', '1'))}"]
        )  # fmt: skip
    rows.append(_analysis_row(state, long))
    return rows


def _analysis_row(state: State, batch: Batch) -> list[str]:
    path = ordered.OrderedPath(1)
    path._make_room(state)
    footprints = Footprints.of(batch.programs)
    taken = timed({"levels": lambda: partial(path._sort, batch, footprints, 0, ordered.WINDOW, 0)})
    per_tx = [1e9 * took / ordered.WINDOW for took in taken.seconds["levels"]]
    return ["order of dependency, long calls", f"{tables.spread(per_tx)} ns/tx", "two accounts and a slot each"]


def decode_rows() -> list[list[str]]:
    addresses = np.random.default_rng(0).integers(0, 256, (ACCOUNTS, 20), np.uint8)
    directory = Directory(addresses)
    batch = transfers(TXS, accounts=ACCOUNTS)
    data = encode(batch, directory)
    for threads in (1, 2):
        decoded = decode(data, directory, threads=threads)
        if any(not np.array_equal(getattr(decoded, name), getattr(batch, name)) for name in ("sender", "receiver")):
            raise SystemExit("decoding: differs from what was encoded")
    taken = timed({str(n): lambda n=n: partial(decode, data, directory, threads=n) for n in (1, 2)})
    return [
        ["decoding, 2 threads", f"{tables.spread(taken.per_second('2', TXS))} M records/s",
         f"2 over 1 {tables.spread(taken.ratios('2', '1'))}"]
    ]  # fmt: skip


def stamp_rows() -> list[list[str]]:
    """What it costs to stamp each micro-batch and to enter the stamps into histograms."""
    state = State.with_accounts(ACCOUNTS, balance=10**12)
    batch = transfers(TXS, accounts=ACCOUNTS, nonces="strict")
    expected = expect(state, batch)
    vms = {"with": SuperVM(state), "without": SuperVM(state, features=["-latency-quantiles"])}
    for name, vm in vms.items():
        hold(expected, vm, f"{name} stamps")
    taken = timed({name: partial(prepared, vm, batch) for name, vm in vms.items()})
    return [
        ["transfers, stamped for latencies", f"{tables.spread(taken.per_second('with', TXS))} M tx/s",
         f"{tables.spread(taken.ratios('with', 'without'))} x without stamps"]
    ]  # fmt: skip


def small_rows() -> list[list[str]]:
    """`SuperVM.execute` over the bare kernel with its arrays at hand, on batches of 1,000 that were not seen before."""
    state = State.with_accounts(ACCOUNTS, balance=10**12)
    vms = {"by default": SuperVM(state), "with both paths on": SuperVM(state, features=BOTH)}
    taken: dict[str, list[float]] = {name: [] for name in ("kernel", *vms)}
    for seed in range(600):
        batch = transfers(1_000, accounts=ACCOUNTS, seed=seed)
        name = list(taken)[seed % len(taken)]
        if name != "kernel":
            start = time.perf_counter()
            vms[name].execute(batch)
        else:
            columns = sequential.columns(batch)
            results = np.empty(1_000, np.uint8), np.empty(1_000, np.uint64), NOWHERE
            start = time.perf_counter()
            sequential.kernel(state.balances, state.nonces, state.storage, sequential.NO_ORDER, *columns, *results)
        taken[name].append(1e6 * (time.perf_counter() - start))
    kernel = taken.pop("kernel")[20:]
    return [
        [f"batch of 1,000 transfers, {name}", f"{tables.spread(whole[20:])} us",
         f"{np.median(whole[20:]) - np.median(kernel):.1f} us over the kernel's {tables.spread(kernel)}"]
        for name, whole in taken.items()
    ]  # fmt: skip


PARTS = {
    "transfers": transfer_rows,
    "skew": skew_rows,
    "calls": call_rows,
    "decoding": decode_rows,
    "stamps": stamp_rows,
    "small": small_rows,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=PARTS, help="print the rows of this part and write nothing")
    only = parser.parse_args().only
    if only is not None:
        for row in PARTS[only]():
            print(" | ".join(row), flush=True)
        return
    tables.write(
        "partitioned",
        "The executor's paths",
        f"{TXS:,} transfers ({CALLS:,} calls) on {ACCOUNTS:,} accounts, {cores()} cores, {ROUNDS} rounds in "
        "turns. Counted from decoded columns to receipts; uniform transfers carry strict nonces. Limit: prefetched "
        "independent read-modify-writes of the same balances, uniform, one thread. Equal: before anything was timed, "
        f"receipts and root of every batch were those of the sequential kernel, and those of its first {CHECKED:,} "
        "transactions the specification's; a figure that differed would have ended the run.",
        ["work", "speed", "ratio in the same round"],
        [row for part in PARTS.values() for row in part()],
    )


if __name__ == "__main__":
    main()
