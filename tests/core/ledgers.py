"""Random states, programs and batches: small enough that things collide, with the edges of 64 bits well represented.

One generator serves two masters. Driven by hypothesis it searches and shrinks; driven by a seeded `random.Random` it
makes thousands of transactions a second. Most fields are sound, because a transaction fails at the first that is not
and exercises nothing behind it; the others are off in every way that an encoding allows. Gas limits stay low, so that
an endless loop costs the specification a fraction of a millisecond.
"""

from __future__ import annotations

from random import Random

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from supervm_core.access import AccessList, AccessLists
from supervm_core.columns import UINT64_MAX
from supervm_core.programs import (
    ARGUMENTS,
    MAXIMUM_GAS,
    MAXIMUM_INSTRUCTIONS,
    OPERATIONS,
    REGISTERS,
    Instruction,
    Op,
    Operand,
    Program,
)
from supervm_core.state import State
from supervm_core.transactions import ANY_NONCE, LAST_NONCE, NO_ACCESS_LIST, Batch, Kind, Transaction

SEARCH = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], max_examples=150
)

EDGES = [63, 64, 65, 2**32 - 1, 2**32, 2**63, UINT64_MAX - 1, UINT64_MAX]
ENDLESS = Program([Instruction(Op.JUMP)])
TOO_LONG = Program([Instruction(Op.STOP)] * (MAXIMUM_INSTRUCTIONS + 1))


def rarely(choose: Random) -> bool:
    return choose.randint(0, 19) == 19


def word(choose: Random) -> int:
    if choose.randint(0, 3):
        return choose.randint(0, 12)
    return choose.choice(EDGES) if choose.randint(0, 1) else choose.randint(0, UINT64_MAX)


def state(choose: Random) -> State:
    accounts = 0 if rarely(choose) else choose.randint(1, 4)
    return State(
        [word(choose) for _ in range(accounts)],
        [choose.choice([LAST_NONCE, ANY_NONCE]) if rarely(choose) else choose.randint(0, 2) for _ in range(accounts)],
        [word(choose) for _ in range(choose.randint(0, 6))],
    )


def instruction(choose: Random, length: int) -> Instruction:
    """One that may stand in a program of `length` instructions; few registers, so that they depend on each other."""
    op = choose.choice(list(Op))
    fields = [0, 0, 0]
    immediate = 0
    for role in OPERATIONS[op].operands:
        if role <= Operand.B:
            fields[role] = REGISTERS - 1 if rarely(choose) else choose.randint(0, 4)
        elif role is Operand.VALUE:
            immediate = word(choose)
        else:
            immediate = choose.randint(0, ARGUMENTS - 1 if role is Operand.INDEX else length)
    return Instruction(op, *fields, immediate)


def program(choose: Random) -> Program:
    """Most are valid, and begin by filling some registers so that what follows has something to work on."""
    filled = [Instruction(Op.SET, register, immediate=word(choose)) for register in range(choose.randint(0, 4))]
    length = len(filled) + choose.randint(0, 12)
    body = [*filled, *(instruction(choose, length) for _ in range(length - len(filled)))]
    if not rarely(choose):
        return Program(body)
    if body and choose.randint(0, 2):
        # One field of one instruction off the mark.
        place = choose.randint(0, length - 1)
        field = choose.choice(Instruction._fields)
        body[place] = body[place]._replace(**{field: choose.randint(0, 255)})
        return Program(body)
    return choose.choice([ENDLESS, TOO_LONG, Program([])])


def access_list(choose: Random) -> AccessList:
    """Most of the few accounts and slots that there are, and some that there are not."""
    return AccessList(
        tuple(choose.sample(range(6), choose.randint(0, 6))),
        tuple(choose.sample(range(12), choose.randint(0, 12))) + ((word(choose),) if rarely(choose) else ()),
    )


def batch(choose: Random, state: State, size: int) -> Batch:
    """Transactions that mostly fit `state`: existing accounts, existing programs, the right nonce."""
    programs = [program(choose) for _ in range(choose.randint(1, 3))]
    lists = [access_list(choose) for _ in range(choose.randint(0, 3))]
    following = dict(enumerate(state.nonces.tolist()))

    def account() -> int:
        return (
            choose.choice([state.accounts, 2**32 - 1])
            if rarely(choose)
            else choose.randint(0, max(state.accounts - 1, 0))
        )

    def nonce(sender: int) -> int:
        if rarely(choose):
            return choose.choice([0, 1, LAST_NONCE])
        if choose.randint(0, 1):
            return ANY_NONCE
        expected = following.get(sender, 0)
        following[sender] = min(expected + 1, ANY_NONCE)
        return expected

    rows = []
    for _ in range(size):
        sender = account()
        rows.append(
            Transaction(
                kind=choose.randint(0, 255) if rarely(choose) else choose.choice([*Kind, Kind.CALL, Kind.CALL]),
                sender=sender,
                receiver=account(),
                amount=word(choose) if rarely(choose) else choose.randint(0, 5),
                nonce=nonce(sender),
                program=len(programs) if rarely(choose) else choose.randint(0, len(programs) - 1),
                gas_limit=choose.choice([MAXIMUM_GAS + 1, UINT64_MAX])
                if rarely(choose)
                else choose.choice([200, choose.randint(0, 60)]),
                arguments=tuple(word(choose) for _ in range(ARGUMENTS)),
                access=NO_ACCESS_LIST
                if choose.randint(0, 1)
                else len(lists)
                if rarely(choose)
                else choose.randint(0, max(len(lists) - 1, 0)),
            )
        )
    return Batch.of(rows, programs, AccessLists.of(lists))


def ledger(choose: Random, size: int) -> tuple[State, Batch]:
    """A state and a batch for it."""
    before = state(choose)
    return before, batch(choose, before, size)


@st.composite
def ledgers(draw: st.DrawFn) -> tuple[State, Batch]:
    """As hypothesis chooses: a state and a batch of at most eight transactions."""
    return ledger(draw(st.randoms(use_true_random=False)), draw(st.integers(1, 8)))


AREA = 4
"""Accounts and slots that one area of `areas` has."""


def areas(choose: Random, size: int, shared: float) -> tuple[State, Batch]:
    """A state of `size` areas, and a batch of as many transactions that each keep to one of them."""
    before = State(
        [0 if rarely(choose) else choose.choice([word(choose), 50]) for _ in range(AREA * size)],
        [choose.choice([LAST_NONCE, ANY_NONCE]) if rarely(choose) else 0 for _ in range(AREA * size)],
        storage=[word(choose) for _ in range(AREA * size)],
    )
    return before, area_batch(choose, before, shared)


def area_batch(choose: Random, before: State, shared: float) -> Batch:
    """Calls and others that each keep to an area of the ledger, most of the same program, one for each area.

    Parameters
    ----------
    shared : float
        Share of the transactions that go to one of three areas; every other has an area of its own. From 0, where no
        two transactions have anything in common, to 1, where nearly all have.
    """
    size = before.accounts // AREA
    programs = [_local_program(choose), _local_program(choose)]
    undeclared = choose.choice([0, 0, 0.2])
    following: dict[int, int] = {}
    rows = []
    for place in range(size):
        area = choose.randint(0, 2) if choose.random() < shared else place
        sender, receiver, *others = (AREA * area + choose.randint(0, AREA - 1) for _ in range(5))
        nonce = ANY_NONCE
        if choose.randint(0, 1):
            nonce = following.get(sender, int(before.nonces[sender])) + rarely(choose)
            nonce = min(nonce, LAST_NONCE)
            following[sender] = nonce + 1
        rows.append(
            Transaction(
                kind=Kind.CALL if choose.randint(0, 9) else choose.choice([*Kind, 200]),
                sender=len(before.balances) if rarely(choose) else sender,
                receiver=receiver,
                amount=word(choose) if rarely(choose) else choose.randint(0, 5),
                nonce=nonce,
                program=choose.choice([0] * 6 + [1, 2]),
                gas_limit=MAXIMUM_GAS + 1 if rarely(choose) else choose.choice([400, 400, choose.randint(0, 90)]),
                arguments=(*others, word(choose)),
                access=NO_ACCESS_LIST
                if choose.random() < undeclared
                else size + choose.randint(0, 1)
                if rarely(choose)
                else area,
            )
        )
    own = [tuple(range(AREA * area, AREA * area + AREA)) for area in range(size)]
    return Batch.of(rows, programs, AccessLists.of([AccessList(each, each) for each in own] + [AccessList()]))


def _local_program(choose: Random) -> Program:
    """Begins by loading the arguments, so that what follows often finds an account or slot of the area."""
    arguments = [Instruction(Op.ARGUMENT, register, immediate=register) for register in range(ARGUMENTS)]
    length = ARGUMENTS + choose.randint(0, choose.choice([4, 14]))
    return Program([*arguments, *(instruction(choose, length) for _ in range(length - ARGUMENTS))])


def payments(choose: Random, size: int, accounts: int, edge: float) -> tuple[State, Batch]:
    """A state, and everything but calls. `edge` is the share of numbers that may lie anywhere in 64 bits."""
    before = State(
        [word(choose) if choose.random() < edge else choose.randint(0, 60) for _ in range(accounts)],
        [choose.choice([LAST_NONCE, ANY_NONCE]) if rarely(choose) else choose.randint(0, 2) for _ in range(accounts)],
    )
    return before, payment_batch(choose, before, size, edge)


def payment_batch(choose: Random, before: State, size: int, edge: float) -> Batch:
    """Transfers, mints, burns and unknown kinds."""
    accounts = before.accounts
    following = dict(enumerate(before.nonces.tolist()))
    largest = choose.choice([3, 30])
    rows = []
    for _ in range(size):
        sender = accounts if rarely(choose) else choose.randint(0, accounts - 1)
        nonce = ANY_NONCE
        if choose.randint(0, 1) and sender < accounts:
            nonce = choose.choice([0, LAST_NONCE]) if rarely(choose) else following[sender]
            following[sender] = min(following[sender] + (nonce == following[sender]), ANY_NONCE)
        rows.append(
            Transaction(
                kind=choose.randint(4, 255)
                if rarely(choose)
                else choose.choice([Kind.TRANSFER] * 4 + [Kind.MINT, Kind.BURN]),
                sender=sender,
                receiver=2**32 - 1 if rarely(choose) else choose.randint(0, accounts - 1),
                amount=word(choose) if choose.random() < edge else choose.randint(0, largest),
                nonce=nonce,
            )
        )
    return Batch.of(rows)
