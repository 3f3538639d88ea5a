"""A model of an executor and its load, so that control can be tried without a clock: time is computed, not taken.

A batch costs its transactions' work, more for those that conflict (they are undone and done again in order), a little
for each partition and worker, and something for itself. Partitions make conflicts rarer. Workers share the work as far
as there are cores; more workers than cores get in each other's way. Noise is a few percent, from a seeded source.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from random import Random

import numpy as np

from supervm_core.control.controller import Controller, Outcome, Plan, Sizing

WORK = 1e-6
REDONE = 4.0
PER_BATCH = 40e-6
PER_PARTITION = 4e-6
PER_WORKER = 10e-6
IN_EACH_OTHERS_WAY = 0.7
NOISE = 0.02


@dataclass(frozen=True)
class Phase:
    """A load: how many arrive and how fast, how much they conflict, and how many cores are left for them."""

    transactions: int
    rate: float
    conflicts: float
    cores: int


class Fixed:
    """The controller that leaves everything as it is."""

    def __init__(self, sizing: Sizing) -> None:
        self.sizing = sizing

    def before(self, plan: Plan) -> Plan:
        return plan

    def after(self, outcome: Outcome) -> None:
        pass


def batch(sizing: Sizing, size: int, phase: Phase, backlog: int, choose: Random) -> Outcome:
    """Execute a batch on the model."""
    conflicting = round(size * (1 - math.exp(-phase.conflicts / sizing.partitions)))
    work = WORK * (size + (REDONE - 1) * conflicting) * math.exp(choose.gauss(0, NOISE))
    workers = min(sizing.workers, phase.cores)
    speed = workers * (IN_EACH_OTHERS_WAY if sizing.workers > phase.cores else 1.0)
    seconds = PER_BATCH + PER_PARTITION * sizing.partitions + PER_WORKER * sizing.workers + work / speed
    return Outcome(
        sizing,
        np.zeros((size, 1), np.uint64),
        np.arange(size) < conflicting,
        seconds,
        min(work + PER_BATCH, seconds * phase.cores),
        backlog,
    )


def mean_response(controller: Controller, sizing: Sizing, phases: list[Phase], seed: int = 0) -> float:
    """Return how long a transaction takes on average from its arrival to its receipt, over all phases."""
    choose = Random(seed)
    now = total = 0.0
    served = 0
    for phase in phases:
        start = now
        waiting: deque[tuple[float, int]] = deque()
        queued, left, arrived = 0, phase.transactions, 0
        while left:
            due = min(phase.transactions, int((now - start) * phase.rate) + 1)
            if due > arrived:
                # Those who arrived during a batch came, on average, in its middle.
                came = start + (arrived + due) / 2 / phase.rate
                waiting.append((came, due - arrived))
                queued += due - arrived
                arrived = due
            plan = controller.before(Plan.of(sizing, np.zeros((0, 1), np.uint64)))
            size = min(plan.sizing.batch_size, queued)
            if not size:
                now = start + (arrived + 1) / phase.rate
                continue
            later = min(phase.transactions, int((now - start) * phase.rate) + 1) - (phase.transactions - left) - size
            outcome = batch(plan.sizing, size, phase, max(later, 0), choose)
            now += outcome.seconds
            taken = size
            while taken:
                came, number = waiting.popleft()
                part = min(number, taken)
                total += part * (now - came)
                taken -= part
                if number > part:
                    waiting.appendleft((came, number - part))
            queued -= size
            left -= size
            served += size
            controller.after(outcome)
    return total / served
