"""What the executor's paths achieve, beside what the machine could: every figure with its equality check.

`limit` is the physical bound: independent read-modify-writes of the same balances, uniform, prefetched, one thread. A
transfer changes two balances, so half of it is what transfers could reach if they cost nothing else. Ratios are of
figures taken in the same round, and the order of the figures within a round goes on by one from round to round.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import tables
from numba import njit

from supervm_core import SuperVM, reference
from supervm_core.execution import ordered, sequential, workers
from supervm_core.execution.compiling import prefetch
from supervm_core.execution.footprints import Footprints
from supervm_core.state import State
from supervm_core.transactions import Batch, Receipts
from supervm_core.wire import Directory, decode, encode
from supervm_core.workloads import Stream, calls, transfers

ROUNDS = 9
ACCOUNTS = 1_000_000
TXS = 1_000_000
CALLS = 1_000_000
SPECIFIED = 5_000
"""Transactions of the batch that the specification executes too: it takes a minute for a million."""

BOTH = ("partitioned-fastpath", "consensus-optimizations")


@njit(nogil=True)
def read_modify_write(balances, places):
    total = np.uint64(places.size)
    for each in range(total):
        prefetch(balances, np.uint64(places[min(each + np.uint64(16), total - np.uint64(1))]))
        balances[places[each]] += np.uint64(1)


@dataclass
class Timed:
    """Seconds of each round, by the figure's name."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def rounds(self, figures: dict[str, Callable[[], Callable[[], object]]]) -> None:
        """Time each figure once a round. A figure prepares itself and returns what is timed."""
        names = list(figures)
        for round_number in range(ROUNDS + 1):
            turn = round_number % len(names)
            for name in names[turn:] + names[:turn]:
                work = figures[name]()
                start = time.perf_counter()
                work()
                took = time.perf_counter() - start
                if round_number:  # the first one warms up
                    self.seconds.setdefault(name, []).append(took)

    def per_second(self, name: str, number: int, unit: float = 1e6) -> list[float]:
        return [number / took / unit for took in self.seconds[name]]

    def ratios(self, name: str, other: str, weight: float = 1) -> list[float]:
        """How much faster `name` was than `other`, round by round."""
        return [weight * b / a for a, b in zip(self.seconds[name], self.seconds[other], strict=True)]


def check(vm: SuperVM, batch: Batch, expected: Receipts, root: bytes, what: str) -> None:
    vm.reset()
    if vm.execute(batch) != expected or vm.root() != root:
        raise SystemExit(f"{what}: differs from the sequential kernel")


def check_against_specification(vm: SuperVM, batch: Batch, what: str) -> None:
    """The specification executes the beginning of the batch; the whole is compared with the sequential kernel."""
    head = batch[:SPECIFIED]
    specified = vm.state.copy()
    expected = reference.execute(specified, head)
    if vm.execute(head) != expected or vm.root() != specified.root():
        raise SystemExit(f"{what}: differs from the specification")
    vm.reset()


def prepared(vm: SuperVM, batch: Batch) -> Callable[[], object]:
    vm.reset()
    return lambda: vm.execute(batch)


def zipf(exponent: float, size: int) -> np.ndarray:
    """Accounts by a Zipf law over all of them, the frequent ones scattered."""
    weights = np.cumsum(1 / np.arange(1, ACCOUNTS + 1) ** exponent)
    drawn = Stream(3).below(2**32, size) / 2**32
    ranks = np.searchsorted(weights, drawn * weights[-1])
    return (ranks.astype(np.uint64) * np.uint64(2_654_435_761) % np.uint64(ACCOUNTS)).astype(np.uint32)


def skewed(batch: Batch, hot: np.ndarray, column: str) -> Batch:
    columns = {name: getattr(batch, name) for name in ("kind", "sender", "receiver", "amount", "gas_limit")}
    return Batch(**columns | {column: hot}, arguments=batch.arguments, programs=batch.programs)


def one_key(size: int) -> np.ndarray:
    """99 of 100 the same account."""
    return np.where(Stream(4).below(100, size) == 0, Stream(5).below(ACCOUNTS, size), 7).astype(np.uint32)


def transfer_rows() -> list[list[str]]:
    state = State.with_accounts(ACCOUNTS, balance=10**12)
    batch = transfers(TXS, accounts=ACCOUNTS, nonces="strict")
    sequential_vm = SuperVM(state, executor="sequential")
    expected, root = sequential_vm.execute(batch), sequential_vm.root()
    places = batch.sender.copy()
    limit = state.balances.copy()
    figures = {"limit": lambda: partial(read_modify_write, limit, places)}
    vms = {f"P = {p}": SuperVM(state, features=BOTH, partitions=p) for p in (1, 2, 4, 8)}
    vms["P = 8 on two shards"] = SuperVM(state, features=BOTH, threads=2)
    for name, vm in vms.items():
        check_against_specification(vm, batch, name)
        check(vm, batch, expected, root, name)
        figures[name] = partial(prepared, vm, batch)
    plain = SuperVM(state)
    check(plain, batch, expected, root, "sequential")
    figures["sequential"] = partial(prepared, plain, batch)
    specification, head = SuperVM(state, executor="reference"), batch[:SPECIFIED]
    figures["specification"] = partial(prepared, specification, head)
    timed = Timed()
    timed.rounds(figures)
    rows = [
        [
            f"transfers, {name}",
            f"{tables.spread(timed.per_second(name, TXS))} M tx/s",
            f"{tables.spread(timed.ratios(name, 'limit', 2))} of half the limit; "
            f"{tables.spread(timed.ratios(name, 'specification', TXS / SPECIFIED))} x specification",
        ]
        for name in ("sequential", *vms)
    ]
    return [["limit", f"{tables.spread(timed.per_second('limit', TXS))} M writes/s", ""], *rows]


def skew_rows() -> list[list[str]]:
    state = State.with_accounts(ACCOUNTS, balance=10**12)
    uniform = transfers(TXS, accounts=ACCOUNTS)
    draws = {f"Zipf {e}": zipf(e, TXS) for e in (1.2, 1.5, 2.0)} | {"99 % one key": one_key(TXS)}
    batches = {"uniform": uniform} | {
        f"{name}, {column}": skewed(uniform, hot, column)
        for name, hot in draws.items()
        for column in ("sender", "receiver")
    }
    rows = []
    for way, threads in (("P = 8", None), ("P = 8 on two shards", 2)):
        vm, exact = SuperVM(state, features=BOTH, threads=threads), SuperVM(state, executor="sequential")
        figures = {}
        for name, batch in batches.items():
            exact.reset()
            expected = exact.execute(batch)
            check_against_specification(vm, batch, name)
            check(vm, batch, expected, exact.root(), name)
            figures[name] = partial(prepared, vm, batch)
        timed = Timed()
        timed.rounds(figures)
        rows += [
            [f"transfers, {way}, {name}", f"{tables.spread(timed.per_second(name, TXS))} M tx/s",
             f"{tables.spread(timed.ratios(name, 'uniform'))} x uniform"]
            for name in batches
            if name != "uniform"
        ]  # fmt: skip
    return rows


def call_rows() -> list[list[str]]:
    state = State.with_accounts(ACCOUNTS, balance=10**12, slots=ACCOUNTS)
    long = calls(CALLS, accounts=ACCOUNTS, slots=ACCOUNTS, program="digest")
    arguments = long.arguments.copy()
    arguments[:, 0] = one_key(CALLS)
    columns = {name: getattr(long, name) for name in ("kind", "sender", "receiver", "gas_limit")}
    batches = {
        "long": long,
        "short": calls(CALLS, accounts=ACCOUNTS, slots=ACCOUNTS),
        "long, Zipf 1.2 sender": skewed(long, zipf(1.2, CALLS), "sender"),
        "long, 99 % one slot": Batch(**columns, arguments=arguments, programs=long.programs),
    }
    rows = []
    for name, batch in batches.items():
        scalar = SuperVM(state, executor="sequential")
        expected, root = scalar.execute(batch), scalar.root()
        figures = {"scalar": partial(prepared, scalar, batch)}
        for threads in (1, 2):
            vm = SuperVM(state, features=BOTH, threads=threads)
            check_against_specification(vm, batch, name)
            check(vm, batch, expected, root, name)
            figures[f"{threads}"] = partial(prepared, vm, batch)
        timed = Timed()
        timed.rounds(figures)
        rows.append(
            [f"calls, {name}", f"{tables.spread(timed.per_second('2', CALLS))} M tx/s",
             f"2 threads {tables.spread(timed.ratios('2', 'scalar'))} x scalar kernel; 1 thread "
             f"{tables.spread(timed.ratios('1', 'scalar'))} x; 2 over 1 {tables.spread(timed.ratios('2', '1'))}"]
        )  # fmt: skip
    rows.append(_analysis_row(state, long))
    return rows


def _analysis_row(state: State, batch: Batch) -> list[str]:
    path = ordered.OrderedPath(1)
    path._make_room(state)
    footprints = Footprints.of(batch.programs)
    timed = Timed()
    timed.rounds({"levels": lambda: partial(path._sort, batch, footprints, 0, ordered.WINDOW, 0)})
    per_tx = [1e9 * took / ordered.WINDOW for took in timed.seconds["levels"]]
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
    timed = Timed()
    timed.rounds({str(n): lambda n=n: partial(decode, data, directory, threads=n) for n in (1, 2)})
    return [
        ["decoding, 2 threads", f"{tables.spread(timed.per_second('2', TXS))} M records/s",
         f"2 over 1 {tables.spread(timed.ratios('2', '1'))}"]
    ]  # fmt: skip


def small_rows() -> list[list[str]]:
    """`SuperVM.execute` over the bare kernel with its arrays at hand, on batches of 1,000 that were not seen before."""
    vm = SuperVM.with_accounts(ACCOUNTS, balance=10**12, features=BOTH)
    taken: dict[str, list[float]] = {"execute": [], "kernel": []}
    for seed in range(400):
        batch = transfers(1_000, accounts=ACCOUNTS, seed=seed)
        if seed % 2:
            start = time.perf_counter()
            vm.execute(batch)
            taken["execute"].append(1e6 * (time.perf_counter() - start))
        else:
            columns, state = sequential.columns(batch), vm.state
            results = np.empty(1_000, np.uint8), np.empty(1_000, np.uint64)
            start = time.perf_counter()
            sequential.kernel(state.balances, state.nonces, state.storage, sequential.NO_ORDER, *columns, *results)
            taken["kernel"].append(1e6 * (time.perf_counter() - start))
    whole, kernel = taken["execute"][20:], taken["kernel"][20:]
    return [
        ["batch of 1,000 transfers", f"{tables.spread(whole)} us",
         f"{np.median(whole) - np.median(kernel):.1f} us over the kernel's {tables.spread(kernel)}"]
    ]  # fmt: skip


PARTS = {
    "transfers": transfer_rows,
    "skew": skew_rows,
    "calls": call_rows,
    "decoding": decode_rows,
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
        f"{TXS:,} transfers ({CALLS:,} calls) on {ACCOUNTS:,} accounts, {workers.cores()} cores, {ROUNDS} rounds in "
        "turns. Counted from decoded columns to receipts; uniform transfers carry strict nonces. Limit: prefetched "
        "independent read-modify-writes of the same balances, uniform, one thread. Equal: before anything was timed, "
        f"receipts and root of every batch were those of the sequential kernel, and those of its first {SPECIFIED:,} "
        "transactions the specification's; a figure that differed would have ended the run.",
        ["work", "speed", "ratio in the same round"],
        [row for part in PARTS.values() for row in part()],
    )


if __name__ == "__main__":
    main()
