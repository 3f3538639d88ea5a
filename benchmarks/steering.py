"""Whether steering pays: prediction, adaptive and congestion control with the real engine, each against without.

All transactions of a load are offered to an intake at once and executed as fast as it goes. The ways of steering take
turns, and the order of the turns goes on by one from round to round; ratios are of figures taken in the same round.
Before anything is timed, every batch that an intake makes is held to the sequential kernel.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tables

from supervm_core import SuperVM
from supervm_core.intake import Intake
from supervm_core.state import State
from supervm_core.transactions import Batch, Receipts
from supervm_core.workloads import Stream, calls, transfers

ROUNDS = 7
ACCOUNTS = 1_000_000
PATHS = ["partitioned-fastpath", "consensus-optimizations"]
HOT = 7


Visit = Callable[[Batch, Receipts], None]


@dataclass(frozen=True)
class Way:
    """A way of steering: features, and what an intake begins with."""

    features: Sequence[str] = ()
    threads: int | None = None
    batch_size: int = 8_192

    def intake(self, state: State) -> Intake:
        vm = SuperVM(state, features=[*PATHS, *self.features], threads=self.threads)
        return Intake(vm, batch_size=self.batch_size, room=10**7)


@dataclass
class Result:
    """What an intake made of a load."""

    seconds: float
    executed: int
    refused: int
    cold_wait: float
    """Median response of transactions that do not touch the hot slot, in seconds."""


def long_calls(size: int, hot_share: float, seed: int = 0) -> Batch:
    """Calls of about 130 instructions, a share of which goes to one slot."""
    batch = calls(size, accounts=ACCOUNTS, slots=ACCOUNTS, program="digest", seed=seed)
    arguments = batch.arguments.copy()
    arguments[Stream(seed + 1).below(10_000, size) < np.uint64(10_000 * hot_share), 0] = HOT
    return Batch(batch.kind, batch.sender, batch.receiver, arguments=arguments, programs=batch.programs)


def run(
    way: Way, state: State, phases: Sequence[Batch], visit: Callable[[Batch, object], None] | None = None
) -> Result:
    """Execute the phases one after the other on a ledger of their own."""
    intake = way.intake(state)
    executed = refused = 0
    responses: list[tuple[float, int]] = []
    start = time.perf_counter()
    for phase in phases:
        offered = time.perf_counter()
        intake.offer(phase)
        for step in intake.drain():
            refused += step.refused.tickets.size
            now = time.perf_counter()
            for each in step.executed:
                executed += len(each.batch)
                cold = int(np.count_nonzero(each.batch.arguments[:, 0] != HOT))
                responses.append((now - offered, cold))
                if visit is not None:
                    visit(each.batch, each.receipts)
    seconds = time.perf_counter() - start
    times, weights = np.array(responses).T
    order = np.argsort(times)
    half = np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2)
    return Result(seconds, executed, refused, float(times[order][half]))


def checked(name: str, state: State) -> Visit:
    """Holds every batch to the sequential kernel."""
    exact = SuperVM(state, executor="sequential")

    def visit(batch: Batch, receipts: Receipts) -> None:
        if exact.execute(batch) != receipts:
            raise SystemExit(f"{name}: differs from the sequential kernel")

    return visit


def rounds(ways: dict[str, Way], state: State, phases: Sequence[Batch]) -> dict[str, list[Result]]:
    for name, way in ways.items():
        run(way, state, phases, checked(name, state))
    names, found = list(ways), {name: [] for name in ways}
    for number in range(ROUNDS):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            found[name].append(run(ways[name], state, phases))
    return found


def speed(results: Sequence[Result]) -> str:
    return tables.spread([each.executed / each.seconds / 1e6 for each in results])


def ratio(results: Sequence[Result], others: Sequence[Result]) -> str:
    """How many times as fast `results` are, round by round, in executed transactions a second."""
    pairs = zip(results, others, strict=True)
    return tables.spread([(a.executed / a.seconds) / (b.executed / b.seconds) for a, b in pairs])


def prediction_rows(state: State) -> list[list[str]]:
    rows = []
    for share in (0.0, 0.05, 0.3, 0.99):
        found = rounds({"off": Way(), "on": Way(["experimental-predictor"])}, state, [long_calls(200_000, share)])
        rows.append(
            [f"prediction, {share:.0%} of long calls to one slot", speed(found["off"]), speed(found["on"]),
             ratio(found["on"], found["off"])]
        )  # fmt: skip
    return rows


def adaptive_rows(state: State) -> list[list[str]]:
    """A load that changes: payments, long calls that meet nobody, long calls of which a third meets on one slot."""
    phases = [
        transfers(400_000, accounts=ACCOUNTS),
        long_calls(400_000, 0.0),
        long_calls(200_000, 0.33, seed=5),
        transfers(400_000, accounts=ACCOUNTS, seed=7),
    ]
    fixed = {
        f"fixed, {threads} thread{'s' * (threads > 1)}, batches of {size:,}": Way(threads=threads, batch_size=size)
        for threads in (1, 2)
        for size in (1_024, 8_192, 65_536)
    }
    adaptive = {"adaptive": Way(["adaptive-partition"], threads=1, batch_size=1_024)}
    found = rounds(fixed | adaptive, state, phases)
    return [
        [f"changing load, {name}", speed(results), speed(found["adaptive"]), ratio(found["adaptive"], results)]
        for name, results in found.items()
        if name != "adaptive"
    ]


def congestion_rows(state: State) -> list[list[str]]:
    """Half of all long calls want one slot."""
    found = rounds({"off": Way(), "on": Way(["congestion-control"])}, state, [long_calls(100_000, 0.5)])
    refused = tables.spread([100 * each.refused / 100_000 for each in found["on"]])
    waits = {name: [1e3 * each.cold_wait for each in results] for name, results in found.items()}
    return [
        ["congestion control, 50 % of long calls to one slot", speed(found["off"]), speed(found["on"]),
         ratio(found["on"], found["off"])],
        ["the same: median response of the others, ms", tables.spread(waits["off"]), tables.spread(waits["on"]),
         tables.spread([on / off for on, off in zip(waits["on"], waits["off"], strict=True)])],
        ["the same: refused, %", "0", refused, ""],
    ]  # fmt: skip


def main() -> None:
    state = State.with_accounts(ACCOUNTS, balance=10**12, slots=ACCOUNTS)
    tables.write(
        "steering",
        "Whether steering pays",
        "Executed transactions a second, in millions, of loads that are offered to an intake at once, without and with "
        f"a controller, and the ratio in the same round; {ROUNDS} rounds in turns, {ACCOUNTS:,} accounts and slots. "
        "Adaptive control begins with one thread and batches of 1,024, and stands against fixed settings. Equal: "
        "before anything was timed, every batch had the receipts of the sequential kernel.",
        ["load", "without, or fixed", "with", "with over without"],
        [*prediction_rows(state), *adaptive_rows(state), *congestion_rows(state)],
    )


if __name__ == "__main__":
    main()
