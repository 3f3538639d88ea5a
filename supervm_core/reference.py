"""The specification: what a batch of transactions does to a state, in plain sequential Python.

Everything else that executes transactions must equal this module: statuses, gas, state and root, for every batch,
malformed ones included. It is written to be read, one concept a function, and takes microseconds where compiled code
takes nanoseconds. Numbers are Python integers here, so nothing wraps unless it says so.

**A batch** is applied in order, each transaction to the state that its predecessors left. No transaction can stop it.

**A transaction** passes four doors; the first that stays shut gives its status.

1. *Kind*: one of `Kind`, else `UNKNOWN_KIND`.
2. *Accounts*: sender and receiver exist, else `UNKNOWN_ACCOUNT`. Both are checked for every kind, also where a kind
   makes no use of one: a record that names nobody is refused rather than half ignored.
3. *Nonce*: the sender's next one, else `NONCE_MISMATCH`, and it is consumed: from here on the transaction counts, even
   if it fails. `ANY_NONCE` marks an unordered transaction, whose protection against replay lies outside the ledger: it
   passes, and neither reads nor consumes a nonce. Because 2**64 - 1 has that meaning, an account that has consumed the
   nonce before it can send no more ordered transactions (`NONCE_EXHAUSTED`); a nonce never wraps.
4. *Effect*, by kind, below. It happens wholly or not at all: the consumed nonce is all that a failed one leaves behind.

**Transfer** moves the amount: the sender must hold it (`INSUFFICIENT_BALANCE`), then the receiver's balance must not
pass 2**64 - 1 (`OVERFLOW`). To oneself it moves nothing, but the amount must still be there. **Mint** adds the amount
to the receiver, **burn** takes it from the sender. Who may mint is decided outside: here a mint is already authorised.

**Call** moves the amount as a transfer does and then runs a program of the batch's table on behalf of the receiver. In
this order: the program exists and is valid (`INVALID_PROGRAM`), the gas limit is at most `MAXIMUM_GAS`
(`GAS_LIMIT_TOO_HIGH`), the access list exists (`UNKNOWN_ACCESS_LIST`), the amount moves, the program runs. Before each
instruction its price is charged; one that can no longer be paid is not executed and not charged (`OUT_OF_GAS`). A call
ends well at `stop` or by running past its last instruction. Gas used is the price of all instructions begun, also of a
call that fails; nobody's balance pays it. A call that ends before its first instruction has used none. Within a call a
program sees its own writes.

**Programs** read the transaction, any balance and any word of storage; they write storage and pay out of the receiver's
account. Storage is one flat space that all programs share: which keys belong to whom is their convention.

**Access lists** are a promise that a call may give: besides its sender and receiver it touches only what its list
names. An instruction that would read or change another account or word fails (`UNDECLARED_ACCESS`); that the place
exists is checked first. A call with `NO_ACCESS_LIST` promises nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from supervm_core.access import AccessList, AccessLists
from supervm_core.columns import UINT64_MAX
from supervm_core.programs import MAXIMUM_GAS, OPERATIONS, REGISTERS, Instruction, Op, Program
from supervm_core.state import ROOT_BYTES, ROOT_TAG, State
from supervm_core.transactions import ANY_NONCE, NO_ACCESS_LIST, Batch, Kind, Receipts, Status, Transaction

WORD_BITS = 64


class Failure(Exception):  # noqa: N818  # an outcome that the specification foresees, not an error
    """Ends the transaction being applied with a status; never leaves this module."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.label)
        self.status = status


def require(condition: bool, status: Status) -> None:
    """Let the transaction fail with `status` unless `condition` holds."""
    if not condition:
        raise Failure(status)


# The ledger


@dataclass
class Draft:
    """What a transaction intends to change. Reads see the intention first, then the state; dropping it undoes all."""

    state: State
    balances: dict[int, int] = field(default_factory=dict)
    storage: dict[int, int] = field(default_factory=dict)
    declared: AccessList | None = None
    """What may be touched; None for everything."""

    def reach(self, account: int) -> None:
        """Let the transaction fail unless the account exists and may be touched."""
        require(account < self.state.accounts, Status.UNKNOWN_ACCOUNT)
        require(self.declared is None or account in self.declared.accounts, Status.UNDECLARED_ACCESS)

    def reach_slot(self, slot: int) -> None:
        """Let the transaction fail unless the slot exists and may be touched."""
        require(slot < self.state.slots, Status.UNKNOWN_SLOT)
        require(self.declared is None or slot in self.declared.slots, Status.UNDECLARED_ACCESS)

    def balance(self, account: int) -> int:
        """The balance of an account."""
        self.reach(account)
        return self.balances.get(account, int(self.state.balances[account]))

    def credit(self, account: int, amount: int) -> None:
        """Add to a balance."""
        total = self.balance(account) + amount
        require(total <= UINT64_MAX, Status.OVERFLOW)
        self.balances[account] = total

    def debit(self, account: int, amount: int) -> None:
        """Take from a balance."""
        require(self.balance(account) >= amount, Status.INSUFFICIENT_BALANCE)
        self.balances[account] = self.balance(account) - amount

    def move(self, source: int, target: int, amount: int) -> None:
        """Debit, then credit; between an account and itself the second undoes the first."""
        self.reach(target)
        self.debit(source, amount)
        self.credit(target, amount)

    def load(self, slot: int) -> int:
        """The word in a slot."""
        self.reach_slot(slot)
        return self.storage.get(slot, int(self.state.storage[slot]))

    def store(self, slot: int, word: int) -> None:
        """Put a word into a slot."""
        self.reach_slot(slot)
        self.storage[slot] = word

    def commit(self) -> None:
        """Make the intention the state."""
        for account, balance in self.balances.items():
            self.state.balances[account] = balance
        for slot, word in self.storage.items():
            self.state.storage[slot] = word


def execute(state: State, batch: Batch) -> Receipts:
    """Apply a batch to a state.

    Parameters
    ----------
    state : State
        Changed in place.
    batch : Batch
        Any; no contents make this raise.

    Returns
    -------
    Receipts
        Fresh columns, one place per transaction.
    """
    receipts = [apply(state, transaction, batch.programs, batch.lists) for transaction in batch.transactions()]
    return Receipts(
        status=np.array([status for status, _ in receipts], np.uint8),
        gas_used=np.array([gas for _, gas in receipts], np.uint64),
    )


def apply(
    state: State, transaction: Transaction, programs: tuple[Program, ...], lists: AccessLists
) -> tuple[Status, int]:
    """Apply one transaction; its status and the gas it used."""
    machine = Machine(transaction, Draft(state))
    try:
        require(transaction.kind in set(Kind), Status.UNKNOWN_KIND)
        require(transaction.sender < state.accounts, Status.UNKNOWN_ACCOUNT)
        require(transaction.receiver < state.accounts, Status.UNKNOWN_ACCOUNT)
        consume_nonce(state, transaction)
        match Kind(transaction.kind):
            case Kind.TRANSFER:
                machine.draft.move(transaction.sender, transaction.receiver, transaction.amount)
            case Kind.MINT:
                machine.draft.credit(transaction.receiver, transaction.amount)
            case Kind.BURN:
                machine.draft.debit(transaction.sender, transaction.amount)
            case Kind.CALL:
                call(machine, programs, lists)
    except Failure as failure:
        return failure.status, machine.gas_used
    machine.draft.commit()
    return Status.SUCCESS, machine.gas_used


def consume_nonce(state: State, transaction: Transaction) -> None:
    """Hold an ordered transaction to its sender's next nonce, and move that on at once, past any draft."""
    if transaction.nonce == ANY_NONCE:
        return
    expected = int(state.nonces[transaction.sender])
    require(expected != ANY_NONCE, Status.NONCE_EXHAUSTED)
    require(transaction.nonce == expected, Status.NONCE_MISMATCH)
    state.nonces[transaction.sender] = expected + 1


# Calls


@dataclass
class Machine:
    """A call in progress."""

    transaction: Transaction
    draft: Draft
    registers: list[int] = field(default_factory=lambda: [0] * REGISTERS)
    next: int = 0
    """The instruction to execute next."""
    gas_used: int = 0
    stopped: bool = False


def call(machine: Machine, programs: tuple[Program, ...], lists: AccessLists) -> None:
    """Check and pay in, then run the program to its end."""
    transaction = machine.transaction
    require(transaction.program < len(programs), Status.INVALID_PROGRAM)
    program = programs[transaction.program]
    require(program.is_valid, Status.INVALID_PROGRAM)
    require(transaction.gas_limit <= MAXIMUM_GAS, Status.GAS_LIMIT_TOO_HIGH)
    machine.draft.declared = declaration(transaction, lists)
    machine.draft.move(transaction.sender, transaction.receiver, transaction.amount)
    while not machine.stopped and machine.next < len(program):
        instruction = program.instructions[machine.next]
        price = OPERATIONS[Op(instruction.op)].gas
        require(machine.gas_used + price <= transaction.gas_limit, Status.OUT_OF_GAS)
        machine.gas_used += price
        machine.next += 1
        INSTRUCTIONS[Op(instruction.op)](machine, instruction)


def declaration(transaction: Transaction, lists: AccessLists) -> AccessList | None:
    """What the call may touch: sender, receiver and its access list; None where it declares none."""
    if transaction.access == NO_ACCESS_LIST:
        return None
    require(transaction.access < len(lists), Status.UNKNOWN_ACCESS_LIST)
    accounts, slots = lists[transaction.access]
    return AccessList((transaction.sender, transaction.receiver, *accounts), slots)


Action = Callable[[Machine, Instruction], None]
Computation = Callable[[int, int], int]

INSTRUCTIONS: dict[Op, Action] = {}
"""What each operation does once it is paid for; filled by the two decorators below."""


def acts(op: Op) -> Callable[[Action], Action]:
    """The function is what `op` does to the machine."""

    def register(action: Action) -> Action:
        INSTRUCTIONS[op] = action
        return action

    return register


def computes(op: Op) -> Callable[[Computation], Computation]:
    """The function is what `op` puts into dst, given the contents of a and b."""

    def register(computation: Computation) -> Computation:
        def action(machine: Machine, i: Instruction) -> None:
            machine.registers[i.dst] = computation(machine.registers[i.a], machine.registers[i.b])

        INSTRUCTIONS[op] = action
        return computation

    return register


def checked(number: int) -> int:
    """The number, if a register can hold it."""
    require(0 <= number <= UINT64_MAX, Status.OVERFLOW)
    return number


def wrapped(number: int) -> int:
    """The number modulo 2**64: its lowest 64 bits."""
    return number & UINT64_MAX


# Flow


@acts(Op.STOP)
def stop(machine: Machine, _: Instruction) -> None:
    machine.stopped = True


@acts(Op.REVERT)
def revert(_machine: Machine, _: Instruction) -> None:
    raise Failure(Status.REVERTED)


@acts(Op.JUMP)
def jump(machine: Machine, i: Instruction) -> None:
    machine.next = i.immediate


@acts(Op.JUMP_IF)
def jump_if(machine: Machine, i: Instruction) -> None:
    if machine.registers[i.a] != 0:
        machine.next = i.immediate


@acts(Op.JUMP_UNLESS)
def jump_unless(machine: Machine, i: Instruction) -> None:
    if machine.registers[i.a] == 0:
        machine.next = i.immediate


# Arithmetic


@computes(Op.ADD)
def add(a: int, b: int) -> int:
    return checked(a + b)


@computes(Op.SUB)
def sub(a: int, b: int) -> int:
    return checked(a - b)


@computes(Op.MUL)
def mul(a: int, b: int) -> int:
    return checked(a * b)


@computes(Op.WRAPPING_ADD)
def wrapping_add(a: int, b: int) -> int:
    return wrapped(a + b)


@computes(Op.WRAPPING_SUB)
def wrapping_sub(a: int, b: int) -> int:
    return wrapped(a - b)


@computes(Op.WRAPPING_MUL)
def wrapping_mul(a: int, b: int) -> int:
    return wrapped(a * b)


@computes(Op.DIV)
def div(a: int, b: int) -> int:
    require(b != 0, Status.DIVISION_BY_ZERO)
    return a // b


@computes(Op.MOD)
def mod(a: int, b: int) -> int:
    require(b != 0, Status.DIVISION_BY_ZERO)
    return a % b


# Bits and comparisons


@computes(Op.AND)
def bitwise_and(a: int, b: int) -> int:
    return a & b


@computes(Op.OR)
def bitwise_or(a: int, b: int) -> int:
    return a | b


@computes(Op.XOR)
def bitwise_xor(a: int, b: int) -> int:
    return a ^ b


@computes(Op.SHIFT_LEFT)
def shift_left(a: int, b: int) -> int:
    return wrapped(a << b) if b < WORD_BITS else 0


@computes(Op.SHIFT_RIGHT)
def shift_right(a: int, b: int) -> int:
    return a >> b if b < WORD_BITS else 0


@computes(Op.EQUAL)
def equal(a: int, b: int) -> int:
    return int(a == b)


@computes(Op.LESS)
def less(a: int, b: int) -> int:
    return int(a < b)


@computes(Op.LESS_OR_EQUAL)
def less_or_equal(a: int, b: int) -> int:
    return int(a <= b)


# Registers and the transaction


@acts(Op.SET)
def set_immediate(machine: Machine, i: Instruction) -> None:
    machine.registers[i.dst] = i.immediate


@acts(Op.MOVE)
def move(machine: Machine, i: Instruction) -> None:
    machine.registers[i.dst] = machine.registers[i.a]


@acts(Op.ARGUMENT)
def argument(machine: Machine, i: Instruction) -> None:
    machine.registers[i.dst] = machine.transaction.arguments[i.immediate]


@acts(Op.SENDER)
def sender(machine: Machine, i: Instruction) -> None:
    machine.registers[i.dst] = machine.transaction.sender


@acts(Op.RECEIVER)
def receiver(machine: Machine, i: Instruction) -> None:
    machine.registers[i.dst] = machine.transaction.receiver


@acts(Op.AMOUNT)
def amount(machine: Machine, i: Instruction) -> None:
    machine.registers[i.dst] = machine.transaction.amount


# The ledger, from within


@acts(Op.BALANCE)
def balance(machine: Machine, i: Instruction) -> None:
    machine.registers[i.dst] = machine.draft.balance(machine.registers[i.a])


@acts(Op.LOAD)
def load(machine: Machine, i: Instruction) -> None:
    machine.registers[i.dst] = machine.draft.load(machine.registers[i.a])


@acts(Op.STORE)
def store(machine: Machine, i: Instruction) -> None:
    machine.draft.store(machine.registers[i.a], machine.registers[i.b])


@acts(Op.PAY)
def pay(machine: Machine, i: Instruction) -> None:
    machine.draft.move(machine.transaction.receiver, machine.registers[i.a], machine.registers[i.b])


# The root


def state_root(state: State) -> bytes:
    """The digest of a state, number by number; `supervm_core.state` draws the encoding."""

    def encoded(number: int) -> bytes:
        return number.to_bytes(8, "little")

    digest = hashlib.blake2b(ROOT_TAG, digest_size=ROOT_BYTES)
    digest.update(encoded(state.accounts))
    digest.update(encoded(state.slots))
    for column in (state.balances, state.nonces, state.storage):
        for number in column.tolist():
            digest.update(encoded(number))
    return digest.digest()
