"""Batches survive the wire, and bytes that are no batch are refused with the place of the fault.

If these fail, people execute other transactions than they were sent, or damaged bytes bring an executor down.
"""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervm_core import reference
from supervm_core.columns import U8
from supervm_core.errors import BatchError, WireError
from supervm_core.execution import decoding
from supervm_core.programs import Program, assemble
from supervm_core.state import State
from supervm_core.transactions import COLUMN_TYPES, Batch, Kind, Status, Transaction
from supervm_core.wire import HEADER, RECORD, UNKNOWN, Directory, decode, encode
from supervm_core.workloads import mixed

from . import wire_reference
from .ledgers import SEARCH, ledgers


def addresses(number: int, seed: int = 0) -> U8:
    """Distinct ones: the first bytes count, the others are random."""
    made = np.random.default_rng(seed).integers(0, 256, (number, 20), np.uint8)
    made[:, :4] = np.arange(number, dtype="<u4").view(np.uint8).reshape(number, 4)
    return made


def numbering(made: U8) -> dict[bytes, int]:
    return {row.tobytes(): account for account, row in enumerate(made)}


def assert_same(one: Batch, two: Batch) -> None:
    for name in COLUMN_TYPES:
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)
    assert one.programs == two.programs
    assert [*map(one.lists.__getitem__, range(len(one.lists)))] == [*map(two.lists.__getitem__, range(len(two.lists)))]


MADE = addresses(40)
DIRECTORY = Directory(MADE)
KNOWN = numbering(MADE)


def within(batch: Batch) -> Batch:
    """The batch with every account brought into the directory."""
    columns = {name: getattr(batch, name) for name in COLUMN_TYPES}
    columns["sender"], columns["receiver"] = batch.sender % len(MADE), batch.receiver % len(MADE)
    lists = type(batch.lists)(np.diff(batch.lists.bounds), batch.lists.places % np.uint64(len(MADE)))
    return Batch(**columns, programs=batch.programs, lists=lists)


@SEARCH
@given(ledgers())
def test_batch_survives_the_wire(searched: tuple[State, Batch]) -> None:
    batch = within(searched[1])
    data = encode(batch, DIRECTORY)
    assert_same(decode(data, DIRECTORY), batch)
    assert_same(wire_reference.decode(data, KNOWN), batch)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """The bytes of a batch with some changed, cut off, or added."""
    data = bytearray(encode(within(draw(ledgers())[1]), DIRECTORY))
    for _ in range(draw(st.integers(0, 4))):
        # Numbers of records and lengths stand in the front: damage there is worth more than elsewhere.
        place = draw(st.integers(0, min(len(data) - 1, 200)) | st.integers(0, len(data) - 1))
        data[place] = draw(st.integers(0, 255))
    if draw(st.booleans()):
        del data[draw(st.integers(0, len(data))) :]
    return bytes(data) + draw(st.binary(max_size=3))


@SEARCH
@given(
    damaged()
    | st.binary(max_size=300)
    | st.binary(max_size=300).map(lambda tail: HEADER.pack(b"svmbatch", 1, 1, 1, 1, 0) + tail)
)
def test_damaged_bytes_are_read_or_refused_as_the_format_says(data: bytes) -> None:
    """The compiled decoder takes exactly what the readable one takes, and nothing else than WireError leaves it."""
    try:
        expected = wire_reference.decode(data, KNOWN)
    except WireError:
        with pytest.raises(WireError):
            decode(data, DIRECTORY)
    else:
        assert_same(decode(data, DIRECTORY), expected)


def test_damaged_records_cost_their_senders_and_nobody_else() -> None:
    rows = [Transaction(Kind.TRANSFER, 0, 1, 5), *[Transaction(Kind.CALL, 0, 1)] * 4]
    data = bytearray(encode(Batch.of(rows, [assemble("stop")]), DIRECTORY))
    records = np.frombuffer(data, RECORD, count=len(rows), offset=HEADER.size)
    records["sender"][1] ^= 255
    records["kind"][2] = 77
    records["program"][3] = 9
    records["access"][4] = 9
    receipts = reference.execute(State.with_accounts(len(MADE), balance=9), decode(data, DIRECTORY))
    assert [Status(status) for status in receipts.status] == [
        Status.SUCCESS,
        Status.UNKNOWN_ACCOUNT,
        Status.UNKNOWN_KIND,
        Status.INVALID_PROGRAM,
        Status.UNKNOWN_ACCESS_LIST,
    ]


def test_bits_that_must_be_zero_name_their_record() -> None:
    """Also the first of several, and in whichever worker's share it lies."""
    batch = mixed(40_000, accounts=40, slots=4)
    data = bytearray(encode(batch, DIRECTORY))
    records = np.frombuffer(data, RECORD, count=len(batch), offset=HEADER.size)
    for record, field in [(39_999, "zero_too"), (30_001, "zero"), (30_000, "zero")]:
        records[field][record] = 1
        with pytest.raises(WireError, match=f"record {record} has bits set") as refusal:
            decode(data, DIRECTORY, threads=3)
        assert refusal.value.record == record


def test_bytes_that_end_too_early_name_the_record() -> None:
    data = encode(mixed(3, accounts=40, slots=4), DIRECTORY)
    with pytest.raises(WireError, match="within record 1 of 3, after 7 of its 112 bytes") as refusal:
        decode(data[: HEADER.size + RECORD.itemsize + 7], DIRECTORY)
    assert refusal.value.record == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "end within the header: 32 are wanted and 0 left"),
        (HEADER.pack(b"svmbatcH", 1, 0, 0, 0, 0), "begin with b'svmbatcH' instead of b'svmbatch'"),
        (HEADER.pack(b"svmbatch", 2, 0, 0, 0, 0), "version 2 and this reader knows 1"),
        (HEADER.pack(b"svmbatch", 1, 0, 0, 0, 1), "must be zero, not 1"),
        (HEADER.pack(b"svmbatch", 1, 0, 2**64 - 1, 0, 0), "within record 0 of 18446744073709551615"),
        (HEADER.pack(b"svmbatch", 1, 2**32 - 1, 0, 0, 0), "the lengths of the programs"),
        (HEADER.pack(b"svmbatch", 1, 1, 0, 0, 0) + struct.pack("<I", 2**16), "program 0 claims 65536 instructions"),
        (HEADER.pack(b"svmbatch", 1, 1, 0, 0, 0) + struct.pack("<I", 1), "within program 0: 12 are wanted and 0 left"),
        (HEADER.pack(b"svmbatch", 1, 0, 0, 1, 0) + b"\xff" * 8, "the accounts of the access lists"),
        (HEADER.pack(b"svmbatch", 1, 0, 0, 0, 0) + b"!", "1 bytes follow the end"),
    ],
)
def test_bytes_that_are_no_batch_are_refused_with_the_reason(data: bytes, message: str) -> None:
    with pytest.raises(WireError, match=message):
        decode(data, DIRECTORY)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_decode_the_same(threads: int) -> None:
    batch = mixed(50_000, accounts=40, slots=4, nonces="strict")
    assert_same(decode(encode(batch, DIRECTORY), DIRECTORY, threads=threads), batch)


def test_bytes_may_begin_anywhere() -> None:
    """A batch cut out of a larger message does not stand at a multiple of eight."""
    batch = mixed(5, accounts=40, slots=4)
    data = encode(batch, DIRECTORY)
    for shift in range(8):
        assert_same(decode(memoryview(bytes(shift) + data)[shift:], DIRECTORY), batch)


def test_encoder_refuses_what_has_no_encoding() -> None:
    with pytest.raises(BatchError, match="account 40 at position 1 has no address; there are 40"):
        encode(Batch(Kind.TRANSFER, [0, 40], 0), DIRECTORY)
    with pytest.raises(BatchError, match="program 1 is longer than 65535 instructions"):
        encode(
            Batch(Kind.CALL, 0, 0, programs=[Program([]), Program(assemble("stop").instructions * 65_536)]), DIRECTORY
        )


# The directory


@given(st.lists(st.integers(0, 60), max_size=8))
def test_directory_finds_what_was_added_and_nothing_else(sizes: list[int]) -> None:
    """Whatever the steps in which it grew; a near miss in any byte is a miss."""
    made = addresses(sum(sizes) + 1, seed=3)
    directory = Directory()
    for start, size in zip(np.cumsum([0, *sizes]), sizes, strict=False):
        directory.add(made[start : start + size])
    total = sum(sizes)
    assert directory.find(made).tolist() == [*range(total), UNKNOWN]
    np.testing.assert_array_equal(directory.addresses(np.arange(total)), made[:total])
    near = np.repeat(made[:3], 20, axis=0)
    near[np.arange(len(near)), np.arange(len(near)) % 20] ^= 128
    assert (directory.find(near) == UNKNOWN).all()


def test_addresses_that_begin_at_the_same_slot_are_told_apart() -> None:
    """Half of the table filled from its last slot on, so that walks are long and go around the end."""
    directory = Directory()
    made = addresses(2_000)
    last = made[_starts(directory, made) == 15]
    directory.add(last[:8])
    assert len(directory.table[0]) == 16
    assert directory.find(last[:8]).tolist() == list(range(8))
    others = last[8:]
    assert len(others) > 50
    assert (directory.find(others) == UNKNOWN).all()


def _starts(directory: Directory, made: U8) -> np.ndarray:
    """Where each address would stand alone in a table of 16 slots."""
    starts = []
    for address in made:
        alone = Directory()
        alone._seed = directory._seed
        alone.add(address[np.newaxis])
        starts.append(int(np.flatnonzero(alone.table[0][:, 2] >> np.uint64(32) != UNKNOWN)[0]))
    return np.array(starts)


def test_address_cannot_belong_to_two_accounts() -> None:
    made = addresses(20)
    directory = Directory(made[:5])
    for again, message in [
        (made[[9, 3]], "belongs to account 3 and cannot be given to account 6"),
        (made[[9, 9]], "belongs to account 5 and cannot be given to account 6"),
    ]:
        with pytest.raises(WireError, match=message):
            directory.add(again)
        assert directory.find(made[[0, 3, 9]]).tolist() == [0, 3, UNKNOWN]
    assert len(directory) == 5


@pytest.mark.parametrize("wrong", [np.zeros((2, 19), np.uint8), np.zeros((2, 20)), np.zeros(20, np.uint8)])
def test_directory_refuses_what_is_no_address(wrong: np.ndarray) -> None:
    with pytest.raises(WireError, match="of uint8 is wanted"):
        Directory(wrong)


def test_two_directories_mix_differently() -> None:
    """Otherwise addresses could be made once that collide everywhere."""
    assert Directory().table[1] != Directory().table[1]


def test_record_has_the_words_that_the_kernel_takes() -> None:
    assert RECORD.itemsize == 8 * decoding.RECORD_WORDS
