"""The facade: what a test author holds in hands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

from supervm_core import features
from supervm_core.engine import SuperVM
from supervm_core.errors import SettingError, SuperVMError, UnknownNameError
from supervm_core.execution import compiling
from supervm_core.state import State
from supervm_core.transactions import Batch, Kind
from supervm_core.workloads import mixed, transfers


def python(program: str, **environment: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(params=["routed", "sequential", "reference"])
def vm(request: pytest.FixtureRequest) -> SuperVM:
    return SuperVM.with_accounts(20, balance=100, slots=8, executor=request.param)


def test_execute_changes_the_ledger_and_reset_goes_back(vm: SuperVM) -> None:
    beginning = vm.root()
    batch = mixed(200, accounts=20, slots=8, nonces="strict")
    first = vm.execute(batch)
    after = vm.root()
    assert after != beginning
    assert vm.execute(batch).counts()["nonce mismatch"] == 200
    vm.reset()
    assert vm.root() == beginning
    assert vm.execute(batch) == first
    assert vm.root() == after


def test_receipts_are_never_reused(vm: SuperVM) -> None:
    batch = transfers(10, accounts=20)
    one, two = vm.execute(batch), vm.execute(batch)
    assert not np.shares_memory(one.status, two.status)
    assert not np.shares_memory(one.gas_used, two.gas_used)


def test_callers_state_stays_as_it_is() -> None:
    state = State([5, 0])
    vm = SuperVM(state, executor="reference")
    vm.execute(Batch(Kind.TRANSFER, 0, 1, 5))
    assert state == State([5, 0])
    assert vm.state == State([0, 5])


def test_executors_agree() -> None:
    batch = mixed(500, accounts=20, slots=8)
    one, two = (SuperVM.with_accounts(20, balance=100, slots=8, executor=e) for e in ("sequential", "reference"))
    assert one.execute(batch) == two.execute(batch)
    assert one.root() == two.root()


def test_empty_batch_is_executed(vm: SuperVM) -> None:
    assert len(vm.execute(Batch.of([]))) == 0


def test_unknown_executor_is_answered_with_the_known_ones() -> None:
    with pytest.raises(
        UnknownNameError, match="no executor 'parallel'; known are routed, sequential, reference"
    ) as refusal:
        SuperVM(State([]), executor="parallel")
    assert isinstance(refusal.value, SuperVMError)


def test_features_concern_the_routed_executor_only() -> None:
    with pytest.raises(SettingError, match="the reference executor has no features; leave executor out"):
        SuperVM(State([]), executor="reference", features=["partitioned-fastpath"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"partitions": 0}, "partitions cannot be 0; choose a whole number from 1 to 1024"),
        ({"partitions": 1025}, "partitions cannot be 1025"),
        ({"partitions": 2.5}, "partitions cannot be 2.5"),
        ({"threads": 0}, "threads cannot be 0; choose a whole number from 1 to 256"),
        ({"threads": 257}, "threads cannot be 257"),
    ],
)
def test_numbers_outside_their_range_are_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        SuperVM(State([]), **settings)
    vm = SuperVM(State([]))
    with pytest.raises(SettingError, match=message):
        vm.configure(**{"partitions": 8, "threads": None, **settings})
    assert (vm.partitions, vm.threads) == (8, None)


def test_environment_switches_features_on_and_the_caller_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    assert SuperVM(State([])).features == {"latency-quantiles"}
    monkeypatch.setenv("ENABLE_PARTITIONED_FASTPATH", "1")
    monkeypatch.setenv("DISABLE_LATENCY_QUANTILES", "1")
    assert SuperVM(State([])).features == {"partitioned-fastpath"}
    chosen = ["-partitioned-fastpath", "consensus-optimizations"]
    assert SuperVM(State([]), features=chosen).features == {"consensus-optimizations"}
    assert SuperVM(State([]), executor="sequential").features == frozenset()
    monkeypatch.setenv("ENABLE_PARTITIONED_FASTPATH", "yes")
    with pytest.raises(SettingError, match="ENABLE_PARTITIONED_FASTPATH is 'yes'; one of 0, 1 is wanted"):
        SuperVM(State([]))


def test_second_tier_is_on_unless_switched_off() -> None:
    off = {"DISABLE_LATENCY_QUANTILES": "1"}
    assert features.active(environ={}) == {"latency-quantiles"}
    assert features.active(environ=off) == frozenset()
    assert features.active(["latency-quantiles"], off) == {"latency-quantiles"}
    assert features.active(["-latency-quantiles"], {}) == frozenset()


@pytest.mark.parametrize(
    ("name", "hint"),
    [("partitioned-fast-path", "did you mean 'partitioned-fastpath'"), ("x", "known are partitioned-fastpath, cons")],
)
def test_unknown_feature_is_answered_with_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(UnknownNameError, match=f"there is no feature '{name}'; {hint}"):
        SuperVM(State([]), features=[name])


def test_numba_loads_with_the_first_batch_and_not_before() -> None:
    assert python(
        "import sys\n"
        "from supervm_core.engine import SuperVM\n"
        "from supervm_core.workloads import transfers\n"
        "vm = SuperVM.with_accounts(3)\n"
        "batch = transfers(3, accounts=3)\n"
        "print('numba' in sys.modules)\n"
        "vm.execute(batch)\n"
        "print('numba' in sys.modules)"
    ).split() == ["False", "True"]


def test_missing_numba_is_answered_with_the_command_that_installs_it() -> None:
    printed = python(
        "import sys; sys.modules['numba'] = None\n"
        "from supervm_core.engine import SuperVM\n"
        "from supervm_core.errors import MissingDependencyError\n"
        "from supervm_core.transactions import Batch\n"
        "try: SuperVM.with_accounts(1).execute(Batch(0, 0, 0))\n"
        "except MissingDependencyError as error: print(error)\n"
        "print(SuperVM.with_accounts(1, executor='reference').execute(Batch(0, 0, 0)).failed)"
    )
    assert "pip install 'pytest-supervm[core]'" in printed
    assert printed.endswith("\n0")


def test_machine_code_is_kept_where_the_user_says(tmp_path: Path) -> None:
    execute = (
        "from supervm_core.engine import SuperVM\n"
        "from supervm_core.transactions import Batch\n"
        "SuperVM.with_accounts(1).execute(Batch(0, 0, 0))\n"
        "from supervm_core.execution.sequential import kernel\n"
        "print(sum(kernel.stats.cache_hits.values()))"
    )
    assert python(execute, NUMBA_CACHE_DIR=str(tmp_path)) == "0"
    assert list(tmp_path.rglob("sequential*.nbc"))
    assert python(execute, NUMBA_CACHE_DIR=str(tmp_path)) == "1"


def test_kernel_compiles_where_nothing_can_be_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    def njit(signature: object, *, cache: bool = False, **options: object) -> object:
        if cache:
            raise RuntimeError("cannot cache function 'fill': no locator available for file 'nowhere.py'")
        return numba.njit(signature, **options)

    monkeypatch.setattr(compiling, "njit", njit)

    @compiling.compiled([compiling.reads("uint64"), compiling.writes("uint64")])
    def copy(source: np.ndarray, target: np.ndarray) -> None:
        target[0] = source[0]

    target = np.zeros(1, np.uint64)
    copy(np.array([7], np.uint64), target)
    assert target.tolist() == [7]


def test_other_errors_of_the_compiler_are_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def njit(*_: object, **__: object) -> object:
        raise RuntimeError("something else")

    monkeypatch.setattr(compiling, "njit", njit)
    with pytest.raises(RuntimeError, match="something else"):
        compiling.compiled([])(print)
