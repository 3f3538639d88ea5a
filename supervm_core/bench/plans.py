"""What is measured: rows that differ in one setting, on one ledger, each with its batch and its check.

A plan is complete before anything is timed: it names its rows, has drawn their batches, and has refused settings that
make no sense. `measure` then times all rows in turns with the limit and the specification, and holds every execution,
the timed ones included, to the sequential kernel.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from supervm_core.bench import loads
from supervm_core.bench.equality import TIMED, Expected, prepared
from supervm_core.bench.report import Row
from supervm_core.bench.timing import Spread, Timed, Work
from supervm_core.engine import MOST_PARTITIONS, MOST_THREADS, PARTITIONS, SuperVM
from supervm_core.errors import SettingError
from supervm_core.features import CONSENSUS_OPTIMIZATIONS, PARTITIONED_FASTPATH
from supervm_core.state import State
from supervm_core.transactions import Batch
from supervm_core.workloads import calls, mixed, transfers

BOTH = (PARTITIONED_FASTPATH, CONSENSUS_OPTIMIZATIONS)
"""The features that are on unless something else is asked for."""

BALANCE = 10**12
"""What each account begins with: no sender of a batch runs dry."""

MOST = 2**32 - 1
"""Transactions and accounts at most: kernels number them in 32 bits."""

ProgramLength = Literal["short", "long"]
CALLED: dict[ProgramLength, Literal["swap", "digest"]] = {"short": "swap", "long": "digest"}
"""The program of `supervm_core.workloads` behind each length: about 25 and 130 instructions."""

EXECUTORS: dict[str, tuple[str, ...]] = {
    "sequential": (),
    PARTITIONED_FASTPATH: (PARTITIONED_FASTPATH,),
    CONSENSUS_OPTIMIZATIONS: (CONSENSUS_OPTIMIZATIONS,),
    "both": BOTH,
}
"""The rows of the mixed bench, and which of both features are on in each."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What every bench is told, whatever its rows are.

    Raises
    ------
    SettingError
        If a number is outside its range.
    """

    txs: int = 1_000_000
    """Transactions of the batch."""
    accounts: int = 1_000_000
    """Accounts of the ledger; with calls, it has as many slots."""
    zipf: float | None = None
    """Skew of senders and receivers, the exponent of Zipf's law; uniform without it."""
    threads: int | None = None
    """Threads at most; as many as suit the machine without it."""
    rounds: int = 9
    """Rounds that count; one more before them warms up."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name, most in (("txs", MOST), ("accounts", MOST), ("rounds", MOST), ("threads", MOST_THREADS)):
            number = getattr(self, name)
            if number is not None and not 1 <= number <= most:
                raise SettingError(f"{name} cannot be {number}; choose a whole number from 1 to {most:,}")
        if self.seed < 0:
            raise SettingError(f"seed cannot be {self.seed}; choose a whole number from 0 on")


@dataclass(frozen=True)
class Case:
    """A row before it is measured."""

    name: str
    """What the table calls it."""
    vm: SuperVM
    batch: Batch
    settings: dict[str, Any]
    """The row's fields that are no figures."""


@dataclass(frozen=True)
class Plan:
    """The rows of a bench, ready to be measured."""

    bench: str
    what: str
    """One line for people: what is executed."""
    column: str
    """What the table calls the setting in which the rows differ."""
    state: State
    cases: tuple[Case, ...]
    load: Load

    def measure(self) -> list[Row]:
        """Check and time every row.

        Raises
        ------
        MissingDependencyError
            If numba is not installed.
        """
        from supervm_core.bench.limit import read_modify_write

        batches = {id(case.batch): case.batch for case in self.cases}
        expected = {key: Expected.of(self.state, batch) for key, batch in batches.items()}
        differences: dict[str, str] = {}
        for case in self.cases:
            _note(differences, case.name, expected[id(case.batch)].difference(case.vm))

        txs, load = self.load.txs, self.load
        touched = self.state.balances.copy()
        places = loads.uniform_places(txs, accounts=load.accounts, seed=load.seed)
        specification = SuperVM(self.state, executor="reference")
        by_name = {f"row {case.name}": case for case in self.cases}
        figures: dict[str, Any] = {"limit": lambda: partial(read_modify_write, touched, places)}
        figures |= {f"reference {key}": _specified(specification, batch) for key, batch in batches.items()}
        figures |= {name: partial(prepared, case.vm, case.batch) for name, case in by_name.items()}

        def check(name: str, result: Any) -> None:
            if name in by_name:
                case = by_name[name]
                _note(differences, case.name, expected[id(case.batch)].difference_after(case.vm, result))

        timed = Timed()
        timed.rounds(figures, load.rounds, check)
        head = min(TIMED, txs)
        rows = []
        for name, case in by_name.items():
            speed, reference = Spread.of(timed.per_second(name, txs, 1)), f"reference {id(case.batch)}"
            rows.append(
                Row(
                    bench=self.bench,
                    tps=speed.median,
                    tps_low=speed.low,
                    tps_high=speed.high,
                    limit=Spread.of(timed.per_second("limit", txs, 1)).median,
                    reference_tps=Spread.of(timed.per_second(reference, head, 1)).median,
                    over_half_limit=Spread.of(timed.ratios(name, "limit", 2)).median,
                    over_reference=Spread.of(timed.ratios(name, reference, txs / head)).median,
                    equal=case.name not in differences,
                    difference=differences.get(case.name),
                    **case.settings,
                )
            )
        return rows


def plan_partitioned(
    load: Load,
    *,
    partitions: Sequence[int] = (1, 2, 4, 8),
    cross: float | None = None,
    program: ProgramLength | None = None,
    features: Iterable[str] = (),
) -> Plan:
    """Transfers, or calls of one program, with several numbers of partitions.

    Parameters
    ----------
    load : Load
        The batch, the ledger and the rounds.
    partitions : sequence of int
        A row for each, 1 to 1,024.
    cross : float, optional
        Percent of the transactions that go to another partition; all others stay in theirs. Without it receivers are
        wherever they were drawn.
    program : {"short", "long"}, optional
        Calls of a swap or of a digest in place of transfers.
    features : iterable of str
        Switched on, or off with a minus sign, after both features of the executor's paths were switched on.

    Raises
    ------
    SettingError
        If a number is outside its range, or stands in `partitions` twice.
    UnknownNameError
        If there is no such feature.
    """
    _require_partitions(partitions, load.accounts)
    if cross is not None:
        _require_percent("cross", cross)
    state = State.with_accounts(load.accounts, balance=BALANCE, slots=0 if program is None else max(2, load.accounts))
    if program is None:
        base, what = transfers(load.txs, accounts=load.accounts, seed=load.seed), "transfers"
    else:
        name = CALLED[program]
        base = calls(load.txs, accounts=load.accounts, slots=state.slots, program=name, seed=load.seed)
        what = f"calls of {name}"
    base = _skewed(base, load)
    chosen = (*BOTH, *features)
    cases = []
    for number in partitions:
        batch = base
        if cross is not None:
            batch = loads.crossing(base, accounts=load.accounts, partitions=number, percent=cross, seed=load.seed)
        vm = SuperVM(state, features=chosen, partitions=number, threads=load.threads)
        settings = _settings(
            load, vm, batch, workload="transfers" if program is None else "calls", cross=cross, program=program
        )
        cases.append(Case(str(number), vm, batch, settings))
    crossing = [] if cross is None else [f"{cross:g} % to another partition"]
    return Plan("partitioned", _described(load, what, *crossing), "partitions", state, tuple(cases), load)


def plan_mixed(
    load: Load, *, partitions: int = PARTITIONS, call_percent: float = 20, conflicts: float | None = None
) -> Plan:
    """A batch of all kinds, with the executor's two features on and off.

    Parameters
    ----------
    load : Load
        The batch, the ledger and the rounds.
    partitions : int
        Of the partitioned path, 1 to 1,024.
    call_percent : float
        Percent of the transactions that are swaps.
    conflicts : float, optional
        Percent of the swaps that are against one pool; all against pools drawn uniformly without it.

    Raises
    ------
    SettingError
        If a number is outside its range.
    """
    _require_partitions([partitions], load.accounts)
    _require_percent("calls", call_percent)
    state = State.with_accounts(load.accounts, balance=BALANCE, slots=max(2, load.accounts))
    batch = mixed(load.txs, accounts=load.accounts, slots=state.slots, call_percent=call_percent, seed=load.seed)
    if conflicts is not None:
        _require_percent("conflicts", conflicts)
        batch = loads.conflicting(batch, percent=conflicts, seed=load.seed)
    batch = _skewed(batch, load)
    cases = []
    for name, on in EXECUTORS.items():
        vm = SuperVM(
            state,
            features=[feature if feature in on else f"-{feature}" for feature in BOTH],
            partitions=partitions,
            threads=load.threads,
        )
        settings = _settings(load, vm, batch, workload="mixed", calls=call_percent, conflicts=conflicts)
        cases.append(Case(name, vm, batch, settings))
    sharing = [] if conflicts is None else [f"{conflicts:g} % of them on one pool"]
    described = _described(load, "transactions of all kinds", f"{call_percent:g} % calls", *sharing)
    return Plan("mixed", described, "executor", state, tuple(cases), load)


def _skewed(batch: Batch, load: Load) -> Batch:
    """Skew the accounts as the load says, and give the nonces that follow from the senders."""
    if load.zipf is not None:
        batch = loads.skewed(batch, accounts=load.accounts, exponent=load.zipf, seed=load.seed)
    return loads.in_order(batch)


def _settings(load: Load, vm: SuperVM, batch: Batch, **others: Any) -> dict[str, Any]:
    return {
        "features": sorted(vm.features),
        "partitions": vm.partitions,
        "threads": vm.threads,
        "txs": load.txs,
        "accounts": load.accounts,
        "zipf": load.zipf,
        "crossing": loads.share_that_crosses(batch, accounts=load.accounts, partitions=vm.partitions),
        "rounds": load.rounds,
        "seed": load.seed,
        **others,
    }


def _described(load: Load, what: str, *details: str) -> str:
    skew = [] if load.zipf is None else [f"Zipf {load.zipf:g}"]
    rounds = f"{load.rounds} round{'s' * (load.rounds != 1)} in turns"
    return ", ".join([f"{load.txs:,} {what} on {load.accounts:,} accounts", *details, *skew, rounds])


def _specified(specification: SuperVM, batch: Batch) -> Any:
    head = batch[:TIMED]

    def prepare() -> Work:
        return prepared(specification, head)

    return prepare


def _note(differences: dict[str, str], name: str, difference: str | None) -> None:
    """Keep the first difference of a row."""
    if difference is not None:
        differences.setdefault(name, difference)


def _require_partitions(partitions: Sequence[int], accounts: int) -> None:
    if not partitions:
        raise SettingError(f"partitions names no number; choose whole numbers from 1 to {MOST_PARTITIONS:,}")
    for number in partitions:
        if not 1 <= number <= MOST_PARTITIONS:
            raise SettingError(
                f"partitions cannot be {number}: the executor has from 1 to {MOST_PARTITIONS:,}; choose among these"
            )
        if number > accounts:
            raise SettingError(
                f"{number} partitions of {accounts} accounts leave some empty; choose fewer partitions or more accounts"
            )
        if list(partitions).count(number) > 1:
            raise SettingError(f"partitions names {number} twice; there is one row for each number, so leave one out")


def _require_percent(name: str, percent: float) -> None:
    if not 0 <= percent <= 100:
        raise SettingError(f"{name} cannot be {percent:g} percent: a share is from 0 to 100; choose one")
