"""The command `supervm bench`: what it draws, what it checks, what it prints and writes, and what it refuses.

If these fail, published speeds belong to other work than they say, or to wrong results.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from supervm_core import bench
from supervm_core.bench import loads, plans, report
from supervm_core.bench.timing import Spread, Timed
from supervm_core.commands import bench as command
from supervm_core.engine import SuperVM
from supervm_core.errors import BatchError, SettingError
from supervm_core.execution import sequential
from supervm_core.state import State
from supervm_core.transactions import Kind
from supervm_core.workloads import Stream, mixed, transfers, zipf

SMALL = ("--txs=300", "--accounts=200", "--rounds=2")
CONSOLE_SCRIPT = Path(sys.executable).with_name("supervm")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)


def written(folder: Path, *arguments: str) -> dict:
    file = folder / "rows.json"
    assert run(*arguments, "--json", file).exit_code == 0
    return json.loads(file.read_text())


@pytest.fixture(autouse=True)
def known_machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking what the processor is called takes a second."""
    if "machine" not in request.function.__name__:
        monkeypatch.setattr(report, "machine", lambda: {"cpu": "Abacus 9"})


# What is drawn


def partition(account: np.ndarray, accounts: int, partitions: int) -> np.ndarray:
    """By the definition of the partitioned path, the slow way: the last partition that begins at or before it."""
    begins = [number * accounts // partitions for number in range(partitions)]
    return np.array([max(p for p, begin in enumerate(begins) if begin <= each) for each in account.tolist()])


@settings(max_examples=60, deadline=None)
@given(
    txs=st.integers(0, 300),
    accounts=st.integers(1, 60),
    partitions=st.integers(1, 60),
    percent=st.sampled_from([0, 0.4, 10, 33.3, 100]),
    exponent=st.sampled_from([None, 1.2, 3.0]),
    seed=st.integers(0, 2**64),
)
def test_exactly_the_asked_share_crosses(
    txs: int, accounts: int, partitions: int, percent: float, exponent: float | None, seed: int
) -> None:
    partitions = min(partitions, accounts)
    batch = transfers(txs, accounts=accounts, seed=seed)
    if exponent is not None:
        batch = loads.skewed(batch, accounts=accounts, exponent=exponent, seed=seed)
    crossed = loads.crossing(batch, accounts=accounts, partitions=partitions, percent=percent, seed=seed)
    own, other = (partition(column, accounts, partitions) for column in (crossed.sender, crossed.receiver))
    assert np.array_equal(crossed.sender, batch.sender)
    assert not txs or int(crossed.receiver.max()) < accounts
    expected = round(txs * percent / 100) if partitions > 1 else 0
    assert np.count_nonzero(own != other) == expected
    share = loads.share_that_crosses(crossed, accounts=accounts, partitions=partitions)
    assert share == pytest.approx(100 * expected / max(1, txs))


def test_crossing_leaves_nobody_out_and_keeps_who_is_frequent() -> None:
    batch = transfers(20_000, accounts=40)
    crossed = loads.crossing(batch, accounts=40, partitions=4, percent=50)
    counts = np.bincount(crossed.receiver, minlength=40)
    # Nine standard deviations of a binomial.
    assert np.abs(counts - 500).max() < 9 * np.sqrt(500)
    hot = loads.crossing(loads.skewed(batch, accounts=40, exponent=3), accounts=40, partitions=4, percent=50)
    assert np.sort(np.bincount(hot.receiver, minlength=40))[-8:].sum() > 0.8 * len(hot)


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(0, 50),
    accounts=st.integers(1, 500) | st.sampled_from([2**16, 2**16 + 1, 10**5]),
    exponent=st.floats(0, 50),
)
def test_zipf_is_in_range(size: int, accounts: int, exponent: float) -> None:
    drawn = zipf(size, accounts=accounts, exponent=exponent)
    assert drawn.size == size
    assert not size or int(drawn.max()) < accounts


def test_zipf_follows_its_law() -> None:
    counts = np.sort(np.bincount(zipf(200_000, accounts=50, exponent=1.2).astype(np.int64), minlength=50))[::-1]
    weights = np.arange(1.0, 51) ** -1.2
    expected = 200_000 * weights / weights.sum()
    assert np.abs(counts - expected).max() < 9 * np.sqrt(expected.max())
    assert np.abs(counts / expected - 1).max() < 0.2


@pytest.mark.parametrize("accounts", [1, 2, 3, 10, 97, 100, 1024, 5040])
def test_zipf_reaches_every_account_once_in_its_order(accounts: int) -> None:
    """With exponent 0 every rank is as likely as any other, so a wrong step would leave accounts out."""
    assert set(zipf(40 * accounts, accounts=accounts, exponent=0).tolist()) == set(range(accounts))


def test_frequent_accounts_lie_scattered_and_stay_the_same() -> None:
    busiest = []
    for seed in (1, (1, 2)):
        counts = np.bincount(zipf(50_000, accounts=1_000, exponent=1.5, seed=seed).astype(np.int64), minlength=1_000)
        busiest.append(set(np.argsort(counts)[:-9:-1].tolist()))
    assert busiest[0] == busiest[1]
    assert {account // 250 for account in busiest[0]} == {0, 1, 2, 3}


@pytest.mark.parametrize("exponent", [-0.1, float("nan"), float("inf")])
def test_zipf_has_no_such_exponent(exponent: float) -> None:
    with pytest.raises(BatchError, match=f"no exponent {exponent}; choose 0"):
        zipf(1, accounts=1, exponent=exponent)


def test_fractions_are_below_one_and_even() -> None:
    drawn = Stream(0).fractions(10_000)
    assert 0 <= drawn.min() < 0.001
    assert 0.999 < drawn.max() < 1
    assert abs(drawn.mean() - 0.5) < 0.03


def test_one_key_gets_99_of_100() -> None:
    key = loads.one_key(10_000, accounts=50)
    assert 9_850 < np.count_nonzero(key == 7) < 9_950
    assert int(loads.one_key(100, accounts=3).max()) < 3


def test_conflicts_are_an_exact_share_of_the_calls() -> None:
    batch = mixed(2_000, accounts=10, slots=2_000, call_percent=50)
    hot = loads.conflicting(batch, percent=30)
    calls = np.count_nonzero(batch.kind == Kind.CALL)
    moved = (hot.arguments != batch.arguments).any(axis=1)
    assert (hot.kind[moved] == Kind.CALL).all()
    in_first = (hot.kind == Kind.CALL) & (hot.arguments[:, :2].max(axis=1) == 1)
    assert abs(np.count_nonzero(in_first) - round(0.3 * calls)) <= 10, "and the few that were there already"
    assert SuperVM.with_accounts(10, balance=10**9, slots=2_000, executor="reference").execute(hot).failed == 0


@pytest.mark.parametrize(("percent", "shares"), [(0, [88, 6, 6, 0]), (50, [44, 3, 3, 50]), (100, [0, 0, 0, 100])])
def test_mixture_has_as_many_calls_as_asked(percent: float, shares: list[int]) -> None:
    counts = np.bincount(mixed(40_000, accounts=9, slots=2, call_percent=percent).kind, minlength=4)
    assert [round(share / 400) for share in counts.tolist()] == shares


def test_mixture_refuses_more_calls_than_there_are_transactions() -> None:
    with pytest.raises(BatchError, match="101 of 100 transactions cannot be calls; choose from 0 to 100"):
        mixed(1, accounts=1, slots=2, call_percent=101)


@pytest.mark.parametrize("exponent", [None, 1.2])
def test_batches_of_a_plan_succeed_with_their_nonces(exponent: float | None) -> None:
    load = bench.Load(txs=500, accounts=100, zipf=exponent)
    for plan in (
        bench.plan_partitioned(load, partitions=[4], cross=20),
        bench.plan_partitioned(load, partitions=[4], program="short"),
        bench.plan_partitioned(load, partitions=[4], program="long"),
        bench.plan_mixed(load, conflicts=30),
    ):
        for case in plan.cases:
            assert SuperVM(plan.state, executor="reference").execute(case.batch).failed == 0


# How it is timed


def test_rounds_take_every_figure_once_and_after_different_ones() -> None:
    order: list[str] = []
    figures = {name: lambda name=name: lambda: order.append(name) or name for name in "abcd"}
    seen: list[tuple[str, object]] = []
    timed = Timed()
    timed.rounds(figures, 4, lambda *what: seen.append(what))
    rounds = ["".join(order[at : at + 4]) for at in range(0, 20, 4)]
    assert all(sorted(each) == list("abcd") for each in rounds)
    assert len({each[0] for each in rounds[1:]}) > 1
    assert {each[each.index("c") - 1] for each in rounds if not each.startswith("c")} == {"b", "d"}
    assert {name: len(taken) for name, taken in timed.seconds.items()} == dict.fromkeys("abcd", 4)
    assert seen == [(name, name) for name in order], "also in the round that warms up"


def test_figures_come_from_seconds() -> None:
    timed = Timed({"fast": [0.5, 1.0], "slow": [2.0, 1.0]})
    assert timed.per_second("fast", 3_000_000) == [6.0, 3.0]
    assert timed.ratios("fast", "slow", 2) == [8.0, 2.0]


@pytest.mark.parametrize(
    ("values", "spread"), [([3], (3, 3, 3)), ([1, 2], (1.25, 1.5, 1.75)), ([5, 1, 2, 3, 4], (2, 3, 4))]
)
def test_spread_is_the_middle_half_and_never_outside(values: list[float], spread: tuple[float, ...]) -> None:
    assert Spread.of(values) == spread


def test_limit_adds_one_to_each_place() -> None:
    from supervm_core.bench.limit import read_modify_write

    balances = np.zeros(5, np.uint64)
    read_modify_write(balances, np.array([3, 0, 3], np.uint32))
    read_modify_write(balances, np.zeros(0, np.uint32))
    assert balances.tolist() == [1, 0, 0, 2, 0]
    assert len(read_modify_write.signatures) == 1


# What is printed and written


def test_partitioned_prints_a_row_for_each_number_and_writes_the_same(tmp_path: Path) -> None:
    file = tmp_path / "new folder" / "rows.json"
    result = run("partitioned", *SMALL, "--partitions=1,2,4", "--cross=10", "--threads=2", "--seed=5", "--json", file)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "300 transfers on 200 accounts, 10 % to another partition, 2 rounds in turns"
    assert lines[1].startswith("limit ")
    assert [line.split()[0] for line in lines[3:]] == ["partitions", "1", "2", "4", "wrote"]
    assert all(line.endswith("yes") for line in lines[4:7])
    content = json.loads(file.read_text())
    assert list(content) == ["schema", "machine", "rows"]
    assert content["schema"] == "supervm-bench/1"
    names = [field.name for field in fields(report.Row)]
    for row, partitions in zip(content["rows"], (1, 2, 4), strict=True):
        assert list(row) == names
        settings = {
            "bench": "partitioned", "workload": "transfers", "cross": 10, "zipf": None, "partitions": partitions,
            "threads": 2, "txs": 300, "accounts": 200, "rounds": 2, "seed": 5, "equal": True, "difference": None,
            "features": ["consensus-optimizations", "latency-quantiles", "partitioned-fastpath"],
            "crossing": 0 if partitions == 1 else 10,
        }  # fmt: skip
        assert {name: row[name] for name in settings} == settings
        assert 0 < row["tps_low"] <= row["tps"] <= row["tps_high"]
        assert min(row["limit"], row["reference_tps"], row["over_half_limit"], row["over_reference"]) > 0


@pytest.mark.parametrize(("program", "called"), [("short", "swap"), ("long", "digest")])
def test_programs_are_called_in_place_of_transfers(tmp_path: Path, program: str, called: str) -> None:
    (row,) = written(tmp_path, "partitioned", *SMALL, "--partitions=8", "--program", program, "--zipf=1.2")["rows"]
    assert (row["workload"], row["program"], row["zipf"], row["cross"]) == ("calls", program, 1.2, None)
    assert f"calls of {called}" in run("partitioned", *SMALL, "--partitions=8", "--program", program).stdout


@pytest.mark.parametrize(
    ("words", "on"),
    [
        ("-partitioned-fastpath", ["consensus-optimizations"]),
        ("-consensus-optimizations, -partitioned-fastpath", []),
        ("partitioned-fastpath", ["consensus-optimizations", "partitioned-fastpath"]),
    ],
)
def test_features_are_on_unless_switched_off(tmp_path: Path, words: str, on: list[str]) -> None:
    (row,) = written(tmp_path, "partitioned", *SMALL, "--partitions=2", "--features", words)["rows"]
    assert row["features"] == sorted([*on, "latency-quantiles"])


def test_mixed_has_a_row_for_each_choice_of_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENABLE_PARTITIONED_FASTPATH", "1")
    content = written(tmp_path, "mixed", *SMALL, "--calls=12.5", "--conflicts=50", "--partitions=3", "--zipf=1.5")
    assert [[name for name in row["features"] if name != "latency-quantiles"] for row in content["rows"]] == [
        [],
        ["partitioned-fastpath"],
        ["consensus-optimizations"],
        ["consensus-optimizations", "partitioned-fastpath"],
    ]
    for row in content["rows"]:
        assert (row["bench"], row["workload"], row["calls"], row["conflicts"]) == ("mixed", "mixed", 12.5, 50)
        assert (row["partitions"], row["equal"]) == (3, True)
    names = ["sequential", "partitioned-fastpath", "consensus-optimizations", "both"]
    lines = run("mixed", *SMALL, "--conflicts=50", "--zipf=1.5").stdout.splitlines()
    assert lines[0] == (
        "300 transactions of all kinds on 200 accounts, 20 % calls, 50 % of them on one pool, Zipf 1.5, "
        "2 rounds in turns"
    )
    assert [line.split()[0] for line in lines[4:]] == names


def test_defaults_are_a_million() -> None:
    options = {option.name: option.default for option in command.commands["partitioned"].params}
    assert (options["txs"], options["accounts"], options["partitions"]) == (1_000_000, 1_000_000, "1,2,4,8")


def test_file_is_replaced_as_a_whole_and_keeps_its_mode(tmp_path: Path) -> None:
    file, link = tmp_path / "rows.json", tmp_path / "link.json"
    file.write_text("old")
    file.chmod(0o640)
    link.symlink_to(file)
    report.write_json([], link)
    assert link.is_symlink()
    assert json.loads(file.read_text())["rows"] == []
    assert file.stat().st_mode & 0o777 == 0o640
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link.json", "rows.json"]


def test_file_that_cannot_be_finished_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "rows.json"
    file.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    result = run("partitioned", *SMALL, "--partitions=1", "--json", file)
    assert result.exit_code == 1
    assert "No space left on device; name a file that you may write" in result.stderr
    assert "partitions" in result.stdout, "what was measured is printed all the same"
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("rows.json", "old")]


def test_machine_is_described() -> None:
    about = report.machine()
    assert list(about) == ["cpu", "cores", "memory_bytes", "system", "python"]
    assert about["cores"] >= 1
    assert about["memory_bytes"] > 2**20


@pytest.mark.parametrize(
    ("value", "text"), [(0.512345, "0.512"), (58.349, "58.3"), (410.4, "410"), (999.7, "1,000"), (1234.4, "1,234")]
)
def test_figures_are_written_without_powers_of_ten(value: float, text: str) -> None:
    assert report.number(value) == text


# What differs from the specification


def break_after(monkeypatch: pytest.MonkeyPatch, executions: int, damage: str) -> None:
    """Let the router go wrong from that execution on."""
    from supervm_core.execution.router import Router

    execute, done = Router.execute, []

    def wrong(self: Router, state: State, batch: object, in_order: bool) -> object:
        receipts = execute(self, state, batch, in_order)
        done.append(1)
        if len(done) > executions:
            if damage == "receipts":
                receipts.status[17] = 5
            else:
                state.balances[0] += np.uint64(1)
        return receipts

    monkeypatch.setattr(Router, "execute", wrong)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("receipts", "1 of 300 receipts differ from the specification's, the first at transaction 17"),
        ("root", "the state root after 300 transactions differs from the specification's"),
    ],
)
def test_difference_is_printed_and_written_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str, said: str
) -> None:
    break_after(monkeypatch, 0, damage)
    file = tmp_path / "rows.json"
    result = run("mixed", *SMALL, "--json", file)
    assert result.exit_code == 1
    assert f"NOT EQUAL, executor both: {said}\n" in result.stderr
    assert "so its speed means nothing: report the command" in result.stderr
    rows = json.loads(file.read_text())["rows"]
    assert {row["equal"] for row in rows} == {False}
    assert rows[-1]["difference"] == said
    assert result.stdout.splitlines()[7].endswith("NO")


def test_difference_that_comes_only_while_timing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    break_after(monkeypatch, 3, "receipts")
    result = run("partitioned", *SMALL, "--partitions=1")
    assert result.exit_code == 1
    assert "receipts differ from the sequential kernel's, the first at transaction 17" in result.stderr


def test_receipts_of_another_number_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = bench.plan_partitioned(bench.Load(txs=10, accounts=5), partitions=[1])
    (case,) = plan.cases
    expected = bench.Expected.of(plan.state, case.batch)
    assert expected.difference(case.vm) is None
    monkeypatch.setattr(SuperVM, "execute", lambda self, batch: sequential.execute(self.state, batch[:-1]))
    assert expected.difference(case.vm) == "9 receipts for 10 transactions"


def test_wrong_kernel_does_not_vouch_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that take the sequential kernel equal it, also where it is wrong: the specification tells."""
    execute = sequential.execute

    def wrong(state: State, batch: object, *notes: object) -> object:
        receipts = execute(state, batch, *notes)
        state.nonces[0] += np.uint64(1)
        return receipts

    monkeypatch.setattr(sequential, "execute", wrong)
    result = run("partitioned", *SMALL, "--partitions=1")
    assert result.exit_code == 1
    assert "the state root after 300 transactions differs from the specification's" in result.stderr


# What is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--partitions=0"], "partitions cannot be 0: the executor has from 1 to 1,024; choose among these"),
        (["--partitions=1,1025"], "partitions cannot be 1025: the executor has from 1 to 1,024"),
        (["--partitions=-3"], "partitions cannot be -3"),
        (["--partitions=1,,2"], "'1,,2' has nothing where a value should be; fill it in, or"),
        (["--partitions="], "'' has nothing where a value should be"),
        (["--partitions=1,two"], "'two' is not a whole number; write numbers and commas, such as 1,2,4,8"),
        (["--partitions=2,4,2"], "partitions names 2 twice; there is one row for each number"),
        (["--partitions=8", "--accounts=7"], "8 partitions of 7 accounts leave some empty; choose fewer partitions or"),
        (["--cross=120"], "cross cannot be 120 percent: a share is from 0 to 100; choose one"),
        (["--cross=-1"], "cross cannot be -1 percent"),
        (["--cross=nan"], "cross cannot be nan percent"),
        (["--cross=few"], "'few' is not a valid float"),
        (["--zipf=-1"], "Zipf's law has no exponent -1.0; choose 0 (uniform) or more"),
        (["--txs=0"], "txs cannot be 0; choose a whole number from 1 to 4,294,967,295"),
        (["--accounts=4294967296"], "accounts cannot be 4294967296; choose a whole number from 1 to 4,294,967,295"),
        (["--rounds=0"], "rounds cannot be 0"),
        (["--threads=257"], "threads cannot be 257; choose a whole number from 1 to 256"),
        (["--seed=-1"], "seed cannot be -1; choose a whole number from 0 on"),
        (["--features=partitioned"], "there is no feature 'partitioned'"),
        (["--features=a,,b"], "'a,,b' has nothing where a value should be"),
        (["--program=middle"], "'middle' is not one of 'short', 'long'"),
    ],
)
def test_settings_without_sense_are_refused(arguments: list[str], message: str) -> None:
    result = run("partitioned", *SMALL, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--calls=101"], "calls cannot be 101 percent: a share is from 0 to 100; choose one"),
        (["--conflicts=-5"], "conflicts cannot be -5 percent"),
        (["--partitions=1025"], "partitions cannot be 1025"),
    ],
)
def test_settings_of_mixed_without_sense_are_refused(arguments: list[str], message: str) -> None:
    result = run("mixed", *SMALL, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_plan_without_partitions_is_refused() -> None:
    with pytest.raises(SettingError, match="partitions names no number"):
        bench.plan_partitioned(bench.Load(txs=1, accounts=1), partitions=[])


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("file/rows.json", "one of its folders is a file; name a folder that is one"),
        (".", "it exists and is not a file; name a file"),
        ("loop/rows.json", "name a file that you may write"),
    ],
)
def test_file_that_cannot_be_written_is_found_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, message: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    monkeypatch.setattr(plans.Plan, "measure", lambda _: pytest.fail("measured"))
    result = run("partitioned", *SMALL, "--json", tmp_path / place)
    assert result.exit_code == 2
    assert f"cannot write {tmp_path / place}: " in result.stderr
    assert message in result.stderr


@pytest.mark.parametrize("where", ["supervm_core.commands.plan_partitioned", "supervm_core.bench.plans.Plan.measure"])
def test_too_little_memory_is_said(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    def too_large(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(where, too_large)
    result = run("partitioned", *SMALL)
    assert result.exit_code == 1
    assert "memory of this machine is not enough: choose a smaller --txs or --accounts" in result.stderr


# The command as it is installed


def test_command_is_mounted_on_supervm() -> None:
    arguments = ["partitioned", "--txs=100", "--accounts=50", "--partitions=2", "--rounds=1"]
    done = subprocess.run([CONSOLE_SCRIPT, "bench", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("100 transfers on 50 accounts, 1 round in turns\n")


def test_commands_load_without_numba_and_say_how_to_install_it() -> None:
    program = (
        "import sys, supervm_core.commands\n"
        "print(sorted({'numba', 'llvmlite', 'cpuinfo', 'pytest', 'pytest_supervm'} & sys.modules.keys()))\n"
        "sys.modules['numba'] = None\n"
        "supervm_core.commands.bench(['partitioned', '--txs=9', '--accounts=9'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[0] == "[]"
    assert done.returncode == 1
    assert "Error: compiled executors need numba: pip install 'pytest-supervm[core]'" in done.stderr
