"""Batches as bytes: what travels between processes and machines, with addresses where a batch has account numbers.

All numbers are little-endian and unsigned. A batch is a header, its records, and the tables that they point into:

    header, 32 bytes
         8   the magic b"svmbatch"
         4   version, 1
         4   number of programs
         8   number of records
         4   number of access lists
         4   zero
    records, 112 bytes each
         1   kind                      8   amount
         3   zero                      8   nonce
         4   program                   8   gas limit
         4   access list          4 x  8   arguments
         4   zero                 2 x 20   addresses of sender and receiver
    programs
         4   by program: number of instructions, at most 65,535
        12   by instruction: operation, dst, a, b (a byte each), immediate (8)
    access lists
     4 + 4   by list: number of accounts, number of slots
        20   by account of all lists: its address
         8   by slot of all lists: its number

Records stand right behind the header, at a multiple of eight, so that a reader takes whole words; their size is fixed,
so that several workers decode at once.

What decoding refuses, it refuses as a whole and says where: a buffer that is no batch, ends too early (which record or
table it breaks off in) or goes on too long, and bits that must be zero and are not. What a record *means* is not
decoding's business: unknown kinds, programs that are not there or not valid, lists that are not there, and addresses
that the directory does not know become columns, and the executor gives such a transaction its status. An unknown
address becomes the account number `UNKNOWN`, which no state has.
"""

from __future__ import annotations

import secrets
import struct
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from supervm_core.access import AccessLists
from supervm_core.columns import U8, U32, U64, as_column
from supervm_core.errors import BatchError, WireError
from supervm_core.execution import decoding
from supervm_core.execution.decoding import UNKNOWN
from supervm_core.machine.crew import Crew, shares
from supervm_core.programs import ARGUMENTS, Instruction, Program
from supervm_core.transactions import COLUMN_TYPES, Batch

MAGIC = b"svmbatch"
VERSION = 1
ADDRESS_BYTES = 20

HEADER = struct.Struct("<8sIIQII")

RECORD = np.dtype(
    [
        ("kind", "u1"),
        ("zero", "u1", 3),
        ("program", "<u4"),
        ("access", "<u4"),
        ("zero_too", "<u4"),
        ("amount", "<u8"),
        ("nonce", "<u8"),
        ("gas_limit", "<u8"),
        ("arguments", "<u8", ARGUMENTS),
        ("sender", "u1", ADDRESS_BYTES),
        ("receiver", "u1", ADDRESS_BYTES),
    ]
)

INSTRUCTION = np.dtype([("op", "u1"), ("dst", "u1"), ("a", "u1"), ("b", "u1"), ("immediate", "<u8")])

LONGEST_PROGRAM = 2**16 - 1
"""Far above what a valid program may have, and low enough that the table's length cannot overflow."""

RECORDS_PER_WORKER = 8_192
"""Fewer than this are not worth a thread: handing them over takes about as long as decoding them."""

SMALLEST_TABLE = 16


class Directory:
    """Which address is which account: the addresses of accounts 0, 1, 2, ... in that order, with a table to find them.

    The table has a power of two of slots, 24 bytes each, and is at most half full: where additions would fill it
    further, it is built anew with the next power of two that has room. Every addition copies the addresses that are
    there, so add many at a time.

    Parameters
    ----------
    addresses : array_like of bytes, shape (accounts, 20)
        Copied.

    Raises
    ------
    WireError
        If the array has another shape or type, or an address occurs twice.
    """

    def __init__(self, addresses: ArrayLike = ()) -> None:
        self._seed = np.array([secrets.randbits(64)], np.uint64)
        self._words = np.zeros((0, decoding.WORDS), np.uint64)
        self._slots = _table(SMALLEST_TABLE)
        self.add(addresses)

    def add(self, addresses: ArrayLike) -> None:
        """Append addresses: they belong to the next accounts. One that is already there refuses all of them."""
        words = np.concatenate([self._words, _words(_addresses(addresses))])
        start, slots = len(self._words), self._slots
        if len(words) >= UNKNOWN:
            raise WireError(f"a directory has at most {UNKNOWN - 1} addresses, not {len(words)}")
        if 2 * len(words) > len(slots):
            start, slots = 0, _table(1 << (2 * len(words) - 1).bit_length())
        duplicate = np.empty(2, np.uint64)
        decoding.insert(slots, self._seed, words, np.array([start], np.uint64), duplicate)
        if duplicate[0] != UNKNOWN:
            if slots is self._slots:
                self._rebuild()
            raise WireError(
                f"address {_hexadecimal(words[int(duplicate[1])])} belongs to account {duplicate[0]} and cannot be "
                f"given to account {duplicate[1]} as well"
            )
        self._words, self._slots = words, slots

    def find(self, addresses: ArrayLike) -> U32:
        """Account of each address; `UNKNOWN` where there is none."""
        words = _words(_addresses(addresses))
        accounts = np.empty(len(words), np.uint32)
        decoding.lookup(self._slots, self._seed, words, accounts)
        return accounts

    def addresses(self, accounts: ArrayLike) -> U8:
        """Address of each account, shape (n, 20)."""
        wanted = as_column("accounts", accounts, np.uint32, BatchError)
        if wanted.size and int(wanted.max()) >= len(self):
            place = int(np.argmax(wanted >= len(self)))
            raise BatchError(f"account {wanted[place]} at position {place} has no address; there are {len(self)}")
        return _bytes(self._words[wanted])

    def __len__(self) -> int:
        return len(self._words)

    def __repr__(self) -> str:
        return f"<Directory of {len(self)} addresses>"

    @property
    def table(self) -> tuple[U64, U64]:
        """Slots and seed, as kernels take them."""
        return self._slots, self._seed

    def _rebuild(self) -> None:
        self._slots = _table(len(self._slots))
        decoding.insert(self._slots, self._seed, self._words, np.zeros(1, np.uint64), np.empty(2, np.uint64))


def encode(batch: Batch, directory: Directory) -> bytes:
    """Write a batch as bytes.

    Raises
    ------
    BatchError
        If an account of the batch has no address in the directory, or a program is too long to be written.
    """
    records = np.zeros(len(batch), RECORD)
    for name in COLUMN_TYPES:
        column = getattr(batch, name)
        records[name] = directory.addresses(column) if name in ("sender", "receiver") else column
    bounds = batch.lists.bounds.astype(np.int64)
    counts = np.diff(bounds)
    of_slots = np.repeat(np.arange(counts.size) % 2 == 1, counts)
    too_long = [place for place, program in enumerate(batch.programs) if len(program) > LONGEST_PROGRAM]
    if too_long:
        raise BatchError(f"program {too_long[0]} is longer than {LONGEST_PROGRAM} instructions and has no encoding")
    if int(counts.max(initial=0)) >= 2**32:
        raise BatchError("an access list with 2**32 places or more has no encoding; split it")
    return b"".join(
        [
            HEADER.pack(MAGIC, VERSION, len(batch.programs), len(batch), len(batch.lists), 0),
            records.tobytes(),
            np.array([len(program) for program in batch.programs], "<u4").tobytes(),
            *[np.array(list(program.instructions), INSTRUCTION).tobytes() for program in batch.programs],
            counts.astype("<u4").tobytes(),
            directory.addresses(batch.lists.places[~of_slots]).tobytes(),
            batch.lists.places[of_slots].astype("<u8").tobytes(),
        ]
    )


def decode(data: bytes | bytearray | memoryview, directory: Directory, *, threads: int | None = None) -> Batch:
    """Read a batch from bytes.

    Parameters
    ----------
    data : bytes-like
        Exactly one batch, as the module draws it.
    directory : Directory
        Turns addresses into account numbers.
    threads : int, optional
        Threads at most; the cores that this process may use when left out. Few records are decoded by one.

    Returns
    -------
    Batch
        With columns of its own; nothing refers to `data` any more.

    Raises
    ------
    WireError
        If the bytes are no such batch; says where, and in `record` the record at fault.
    """
    reader = _Reader(memoryview(data).cast("B"))
    magic, version, programs, records, lists, zero = HEADER.unpack(reader.take(HEADER.size, "the header"))
    if magic != MAGIC:
        raise WireError(f"these bytes are no batch: they begin with {magic!r} instead of {MAGIC!r}")
    if version != VERSION:
        raise WireError(f"the batch has version {version} and this reader knows {VERSION}; upgrade the older side")
    if zero:
        raise WireError(f"the last four bytes of the header must be zero, not {zero}")
    body = reader.take_records(records)
    table = _read_programs(reader, programs)
    access_lists = _read_lists(reader, lists, directory)
    if reader.left:
        raise WireError(f"{reader.left} bytes follow the end of the batch")
    columns = _decode_records(body, records, directory, Crew(threads))
    return Batch(**columns, programs=table, lists=access_lists)


class _Reader:
    """Takes bytes from the front and says what they were to be when they run out."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, size: int, what: str) -> memoryview:
        if size > self.left:
            raise WireError(f"the bytes end within {what}: {size} are wanted and {self.left} left")
        self._at += size
        return self._data[self._at - size : self._at]

    def take_records(self, number: int) -> memoryview:
        if number * RECORD.itemsize > self.left:
            broken = self.left // RECORD.itemsize
            raise WireError(
                f"the bytes end within record {broken} of {number}, after {self.left % RECORD.itemsize} of its "
                f"{RECORD.itemsize} bytes",
                record=broken,
            )
        return self.take(number * RECORD.itemsize, "the records")


def _decode_records(
    body: memoryview, number: int, directory: Directory, crew: Crew
) -> dict[str, NDArray[np.unsignedinteger]]:
    words = np.frombuffer(body, "<u8").reshape(number, decoding.RECORD_WORDS)
    records = np.require(words, np.uint64, ["C_CONTIGUOUS", "ALIGNED"])
    columns = {
        name: np.empty((number, ARGUMENTS) if name == "arguments" else number, dtype)
        for name, dtype in COLUMN_TYPES.items()
    }
    ranges = shares(number, crew.threads, least=RECORDS_PER_WORKER)
    flawed = np.empty((len(ranges), 1), np.uint64)
    crew.run(
        [
            partial(
                decoding.decode,
                *directory.table,
                records[start:end],
                flawed[place],
                *[column[start:end] for column in columns.values()],
            )
            for place, (start, end) in enumerate(ranges)
        ]
    )
    for (start, end), (first,) in zip(ranges, flawed.tolist(), strict=True):
        if first < end - start:
            raise WireError(f"record {start + first} has bits set that must be zero", record=start + first)
    return columns


def _read_programs(reader: _Reader, number: int) -> list[Program]:
    lengths = np.frombuffer(reader.take(4 * number, "the lengths of the programs"), "<u4").tolist()
    programs = []
    for place, length in enumerate(lengths):
        if length > LONGEST_PROGRAM:
            raise WireError(f"program {place} claims {length} instructions; {LONGEST_PROGRAM} is the most")
        body = np.frombuffer(reader.take(length * INSTRUCTION.itemsize, f"program {place}"), INSTRUCTION)
        programs.append(Program(map(Instruction._make, body.tolist())))
    return programs


def _read_lists(reader: _Reader, number: int, directory: Directory) -> AccessLists:
    counts = np.frombuffer(reader.take(8 * number, "the lengths of the access lists"), "<u4").astype(np.uint64)
    accounts, slots = int(counts[::2].sum()), int(counts[1::2].sum())
    addresses = np.frombuffer(reader.take(ADDRESS_BYTES * accounts, "the accounts of the access lists"), np.uint8)
    numbers = np.frombuffer(reader.take(8 * slots, "the slots of the access lists"), "<u8")
    of_slots = np.repeat(np.arange(counts.size) % 2 == 1, counts.astype(np.int64))
    places = np.empty(accounts + slots, np.uint64)
    places[~of_slots] = directory.find(addresses.reshape(accounts, ADDRESS_BYTES))
    places[of_slots] = numbers
    return AccessLists(counts, places)


def _addresses(addresses: ArrayLike) -> U8:
    array = np.asarray(addresses)
    if array.size == 0:
        return np.zeros((0, ADDRESS_BYTES), np.uint8)
    if array.dtype != np.uint8 or array.shape[1:] != (ADDRESS_BYTES,):
        raise WireError(
            f"addresses have shape {array.shape} and type {array.dtype}; (n, {ADDRESS_BYTES}) of uint8 is wanted"
        )
    return array


def _words(addresses: U8) -> U64:
    """Addresses as the words that kernels compare."""
    padded = np.zeros((len(addresses), 8 * decoding.WORDS), np.uint8)
    padded[:, :ADDRESS_BYTES] = addresses
    return padded.view("<u8").astype(np.uint64)


def _bytes(words: U64) -> U8:
    return np.ascontiguousarray(words, "<u8").view(np.uint8)[:, :ADDRESS_BYTES]


def _hexadecimal(words: U64) -> str:
    return "0x" + _bytes(words[np.newaxis]).tobytes().hex()


def _table(slots: int) -> U64:
    """An empty table."""
    table = np.zeros((slots, decoding.WORDS), np.uint64)
    table[:, -1] = UNKNOWN << 32
    return table
