"""Workloads are the same bytes everywhere, and do what they say."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np
import pytest

from supervm_core.engine import SuperVM
from supervm_core.errors import BatchError, UnknownNameError
from supervm_core.transactions import ANY_NONCE, COLUMN_TYPES, NO_ACCESS_LIST, Batch, Kind
from supervm_core.workloads import CAPPED_MINT, SWAP, Stream, calls, mixed, transfers, workload, zipf


def digest(batch: Batch) -> str:
    """The columns' contents, independent of the machine's byte order."""
    together = hashlib.blake2b(digest_size=8)
    for name in COLUMN_TYPES:
        if name == "access" and (batch.access == NO_ACCESS_LIST).all():
            continue  # the column is younger than the digests below, and these batches say nothing in it
        together.update(getattr(batch, name).astype("<u8").tobytes())
    return together.hexdigest()


@pytest.mark.parametrize(
    ("name", "parameters", "expected"),
    [
        ("transfer", {"accounts": 100}, "814194cb3f70ee0f"),
        ("transfer", {"accounts": 100, "seed": 1, "nonces": "strict"}, "d9181a9234581004"),
        ("call", {"accounts": 100, "slots": 50}, "19cadca77f92319b"),
        ("call", {"accounts": 100, "slots": 50, "program": "capped_mint"}, "a2a032ec0f0bbd15"),
        ("mixed", {"accounts": 100, "slots": 50}, "dd22345e3eb149af"),
    ],
)
def test_same_seed_gives_the_same_bytes_everywhere(name: str, parameters: dict[str, object], expected: str) -> None:
    """Written down once: numbers kept for a workload belong to these bytes. Change the name when you change them."""
    assert digest(workload(name, txs=1_000, **parameters)) == expected


@pytest.mark.parametrize(("seed", "expected"), [(0, "d63d1ba91c5f76fe"), ((1, 2), "a94fc3cc44551724")])
def test_zipf_draws_the_same_accounts_everywhere(seed: int | tuple[int, int], expected: str) -> None:
    drawn = zipf(1_000, accounts=100, exponent=1.2, seed=seed).astype("<u8")
    assert hashlib.blake2b(drawn.tobytes(), digest_size=8).hexdigest() == expected


def test_other_seed_gives_another_batch() -> None:
    assert digest(transfers(10, accounts=100, seed=1)) != digest(transfers(10, accounts=100, seed=2))


def test_stream_fills_its_range_evenly() -> None:
    numbers = Stream(5).below(8, 80_000)
    counts = np.bincount(numbers.astype(np.int64))
    assert counts.size == 8
    # Nine standard deviations of a binomial: wrong mappings are off by far more.
    assert np.abs(counts - 10_000).max() < 9 * np.sqrt(80_000 / 8 * 7 / 8)


@pytest.mark.parametrize("limit", [1, 2**32])
def test_stream_reaches_no_further_than_its_limit(limit: int) -> None:
    assert int(Stream(0).below(limit, 1_000).max()) < limit


def test_strict_nonces_count_up_by_sender() -> None:
    batch = transfers(500, accounts=20, nonces="strict")
    seen: Counter[int] = Counter()
    for row in batch.transactions():
        assert row.nonce == seen[row.sender]
        seen[row.sender] += 1


def test_any_nonces_can_be_executed_again_and_again() -> None:
    vm = SuperVM.with_accounts(20, balance=100_000)
    batch = transfers(500, accounts=20)
    assert (batch.nonce == ANY_NONCE).all()
    assert [vm.execute(batch).failed for _ in range(3)] == [0, 0, 0]


def test_mixture_has_the_stated_shares() -> None:
    counts = Counter(mixed(20_000, accounts=10, slots=2).kind.tolist())
    shares = {kind: round(100 * number / 20_000) for kind, number in counts.items()}
    assert shares == {Kind.TRANSFER: 70, Kind.MINT: 5, Kind.BURN: 5, Kind.CALL: 20}


def test_edition_sells_until_its_cap_and_notes_the_owners() -> None:
    vm = SuperVM.with_accounts(10, slots=4)
    batch = calls(5, accounts=10, slots=4, program="capped_mint")
    receipts = vm.execute(batch)
    assert receipts.status.tolist() == [0, 0, 0, 12, 12]
    assert vm.state.storage.tolist() == [3, *(batch.sender[:3] + np.uint32(1)).tolist()]


def test_swap_keeps_the_product_of_the_reserves() -> None:
    vm = SuperVM.with_accounts(3, slots=2)
    amount, reserve = 5_000_000, 1_000_000_000
    paid = amount * 997 * reserve // (reserve * 1000 + amount * 997)
    receipts = vm.execute(
        Batch(Kind.CALL, 0, 1, arguments=[[0, 1, amount, paid + 1], [0, 1, amount, paid]], programs=[SWAP])
    )
    assert receipts.counts()["reverted"] == 1
    assert vm.state.storage.tolist() == [reserve + amount, reserve - paid]
    assert (reserve + amount) * (reserve - paid) >= reserve**2


def test_swaps_of_a_workload_succeed() -> None:
    vm = SuperVM.with_accounts(30, slots=11)
    assert vm.execute(calls(3_000, accounts=30, slots=11)).failed == 0
    assert vm.state.storage[10] == 0, "a slot without a partner is no pool"


@pytest.mark.parametrize("program", [SWAP, CAPPED_MINT])
def test_programs_of_workloads_are_valid(program: object) -> None:
    assert program.is_valid


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: workload("transferr", txs=1), UnknownNameError, "no workload 'transferr'; known are transfer, call"),
        (lambda: calls(1, accounts=1, slots=2, program="x"), UnknownNameError, "known are swap, capped_mint"),
        (lambda: transfers(1, accounts=1, nonces="x"), UnknownNameError, "known are any, strict"),
        (lambda: transfers(1, accounts=0), BatchError, "at least one of accounts, not 0"),
        (lambda: calls(1, accounts=1, slots=1), BatchError, "at least 2 slots, not 1"),
    ],
)
def test_unfit_parameters_are_answered_with_the_known_ones(build: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        build()


@pytest.mark.parametrize("nonces", ["any", "strict"])
def test_workload_may_be_empty(nonces: str) -> None:
    assert len(transfers(0, accounts=1, nonces=nonces)) == 0
    assert len(mixed(0, accounts=1, slots=2, nonces=nonces)) == 0
