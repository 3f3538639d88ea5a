"""The wire format read number by number: what the compiled decoder must equal."""

from __future__ import annotations

from supervm_core.access import AccessList, AccessLists
from supervm_core.errors import WireError
from supervm_core.programs import Instruction, Program
from supervm_core.transactions import Batch, Transaction

UNKNOWN = 2**32 - 1


class Bytes:
    """Consumed from the front."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def take(self, size: int) -> bytes:
        if size > len(self.data):
            raise WireError("too short")
        taken, self.data = self.data[:size], self.data[size:]
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def zeros(self, size: int) -> None:
        if any(self.take(size)):
            raise WireError("not zero")


def decode(data: bytes, accounts: dict[bytes, int]) -> Batch:
    rest = Bytes(data)
    if rest.take(8) != b"svmbatch" or rest.number(4) != 1:
        raise WireError("no batch of version 1")
    programs, records, lists = rest.number(4), rest.number(8), rest.number(4)
    rest.zeros(4)
    rows = [record(Bytes(rest.take(112)), accounts) for _ in range(records)]
    lengths = [rest.number(4) for _ in range(programs)]
    if any(length > 65_535 for length in lengths):
        raise WireError("program too long")
    table = [Program(instruction(rest) for _ in range(length)) for length in lengths]
    counts = [(rest.number(4), rest.number(4)) for _ in range(lists)]
    named = [[accounts.get(rest.take(20), UNKNOWN) for _ in range(count)] for count, _ in counts]
    slots = [[rest.number(8) for _ in range(count)] for _, count in counts]
    if rest.data:
        raise WireError("too long")
    declared = (AccessList(tuple(some), tuple(others)) for some, others in zip(named, slots, strict=True))
    return Batch.of(rows, table, AccessLists.of(declared))


def record(rest: Bytes, accounts: dict[bytes, int]) -> Transaction:
    kind = rest.number(1)
    rest.zeros(3)
    program, access = rest.number(4), rest.number(4)
    rest.zeros(4)
    amount, nonce, gas_limit = (rest.number(8) for _ in range(3))
    arguments = tuple(rest.number(8) for _ in range(4))
    sender, receiver = (accounts.get(rest.take(20), UNKNOWN) for _ in range(2))
    return Transaction(kind, sender, receiver, amount, nonce, program, gas_limit, arguments, access)


def instruction(rest: Bytes) -> Instruction:
    return Instruction(*(rest.number(1) for _ in range(4)), rest.number(8))
