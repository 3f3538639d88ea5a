"""Adaptive control: partitions, workers and batch size follow what batches report (`FASTPATH_ADAPTIVE_PARTITION=1`).

Each outcome may ask for one step of each knob:

    partitions   twice as many above 15 % conflicts, half as many below 5 %
    workers      one fewer below 50 % CPU use; one more where more than two batches wait and the CPU is used
    batch size   twice as large where more than two batches wait, half as large where less than a quarter of one does

Four things keep it from swinging. The thresholds of the two directions lie apart. A wish must come `PATIENCE` times in
a row, and after each step the executor is left alone for `REST` batches, so that what is then seen is the step's doing.
And every step is on trial: throughput after it is compared with throughput before, and a step that cost more than
`LOSS` is taken back and not tried again for a while, longer each time. Throughput says something about the executor
only while transactions wait, so a trial without a backlog is dropped. Last, a step down that must be taken back up
soon is banned in the same way: too little costs more than too much. Rules say where to look; trials say what holds.

A step takes three batches, so this pays on loads that hold for hundreds of them. Where a load changes within some tens,
a sizing made for the worst of it is better (up to twice, on the model that tests/control keeps).

`decide` is a pure function of what is remembered and what is seen. `Adaptive` is its controller.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from supervm_core.control.controller import Outcome, Plan, Sizing
from supervm_core.errors import SettingError
from supervm_core.machine import crew

MANY_CONFLICTS = 0.15
FEW_CONFLICTS = 0.05
IDLE_CPU = 0.5
LONG_BACKLOG = 2.0
"""Batches that wait, above which the executor does not keep up."""
SHORT_BACKLOG = 0.25

PATIENCE = 3
"""Outcomes in a row that must wish the same: one odd batch changes nothing."""

REST = 3
"""Batches after a step in which nothing is asked: they are what the step is judged by."""

LOSS = 0.05
"""Share of throughput that a step may cost before it is taken back; smaller changes are noise."""

FIRST_BAN = 16
"""Batches for which a step that did not pay is not tried again; twice as many each time."""

LONGEST_BAN = 64
"""Long enough that trying in vain costs a percent or two, short enough to notice that the load has changed."""

SOON = 64
"""Batches after which a step counts as one that held."""

Knob = Literal["partitions", "workers", "batch_size"]
KNOBS: tuple[Knob, ...] = ("partitions", "workers", "batch_size")


class Step(NamedTuple):
    """One move of one knob."""

    knob: Knob
    up: bool


@dataclass(frozen=True, slots=True)
class Limits:
    """How far the knobs turn, both ends included."""

    least: Sizing = field(default_factory=lambda: Sizing(1, 1, 256))
    most: Sizing = field(default_factory=lambda: Sizing(64, crew.cores(), 65_536))

    def __post_init__(self) -> None:
        for knob in KNOBS:
            if getattr(self.least, knob) > getattr(self.most, knob):
                raise SettingError(
                    f"{knob} cannot go from {getattr(self.least, knob)} to {getattr(self.most, knob)}; "
                    "the least stands before the most"
                )

    def apply(self, sizing: Sizing, step: Step) -> Sizing:
        """Return the sizing after a step: workers by one, the others by a factor of two, never past a limit."""
        now = getattr(sizing, step.knob)
        larger, smaller = (now + 1, now - 1) if step.knob == "workers" else (now * 2, now // 2)
        low, high = getattr(self.least, step.knob), getattr(self.most, step.knob)
        return dataclasses.replace(sizing, **{step.knob: min(max(larger if step.up else smaller, low), high)})


@dataclass(frozen=True, slots=True)
class Trial:
    """A step that has yet to show that it pays."""

    step: Step
    before: Sizing
    throughput: float
    """Transactions a second before it; 0 where nothing waited, so that nobody could know."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What `decide` knows from earlier outcomes."""

    wishes: Mapping[Step, int] = field(default_factory=dict)
    """How many outcomes in a row have wished a step."""
    throughputs: tuple[float, ...] = ()
    """Of the latest batches with this sizing that others waited behind."""
    rest: int = 0
    """Batches until the next step."""
    trial: Trial | None = None
    bans: Mapping[Step, int] = field(default_factory=dict)
    """Batches for which a step is not tried."""
    failures: Mapping[Step, int] = field(default_factory=dict)
    """How often in a row a step did not hold."""
    recent: Mapping[Step, int] = field(default_factory=dict)
    """Batches since each step that has yet to hold."""


class Decision(NamedTuple):
    """What `decide` makes of an outcome."""

    sizing: Sizing
    memory: Memory
    reason: str
    """In words; empty where nothing changes."""


def wishes(outcome: Outcome) -> dict[Step, str]:
    """Return the steps that an outcome asks for, each with its reason, the most urgent first."""
    asked: dict[Step, str] = {}
    rate, use = outcome.conflict_rate, outcome.cpu_use
    waiting = outcome.backlog / outcome.sizing.batch_size
    if rate > MANY_CONFLICTS:
        asked[Step("partitions", True)] = f"{rate:.0%} of transactions conflict, more than {MANY_CONFLICTS:.0%}"
    elif rate < FEW_CONFLICTS:
        asked[Step("partitions", False)] = f"only {rate:.0%} of transactions conflict"
    if use < IDLE_CPU:
        asked[Step("workers", False)] = f"workers use {use:.0%} of their time, less than {IDLE_CPU:.0%}"
    elif waiting > LONG_BACKLOG:
        asked[Step("workers", True)] = f"{outcome.backlog} transactions wait, more than {LONG_BACKLOG:g} batches"
    if waiting > LONG_BACKLOG:
        asked[Step("batch_size", True)] = f"{outcome.backlog} transactions wait, more than {LONG_BACKLOG:g} batches"
    elif waiting < SHORT_BACKLOG:
        asked[Step("batch_size", False)] = f"only {outcome.backlog} transactions wait"
    return asked


def decide(sizing: Sizing, outcome: Outcome, memory: Memory, limits: Limits) -> Decision:
    """Return the sizing of the next batch.

    Parameters
    ----------
    sizing : Sizing
        What the executor is set to now.
    outcome : Outcome
        The latest batch. One that was executed with another sizing, or that was empty, teaches nothing.
    memory : Memory
        As returned by the decision before; ``Memory()`` at the beginning.
    limits : Limits
        How far the knobs turn.
    """
    if outcome.sizing != sizing or not outcome.transactions:
        return Decision(sizing, memory, "")
    asked = {step: why for step, why in wishes(outcome).items() if limits.apply(sizing, step) != sizing}
    waited = outcome.backlog >= sizing.batch_size
    memory = dataclasses.replace(
        memory,
        wishes={step: memory.wishes.get(step, 0) + 1 for step in asked},
        throughputs=(*memory.throughputs, outcome.throughput)[-REST:] if waited else (),
        bans={step: left - 1 for step, left in memory.bans.items() if left > 1},
        failures={step: number for step, number in memory.failures.items() if memory.recent.get(step) != SOON},
        recent={step: age + 1 for step, age in memory.recent.items() if age < SOON},
        rest=max(memory.rest - 1, 0),
    )
    if memory.rest:
        return Decision(sizing, memory, "")
    if memory.trial is not None:
        now, before = _typical(memory.throughputs), memory.trial.throughput
        if 0 < now < (1 - LOSS) * before:
            return _take_back(memory.trial, 1 - now / before, memory)
        memory = dataclasses.replace(memory, trial=None)
    for step, why in asked.items():
        if memory.wishes[step] >= PATIENCE and step not in memory.bans:
            moved = limits.apply(sizing, step)
            reason = f"{step.knob} {getattr(sizing, step.knob)} -> {getattr(moved, step.knob)}: {why}"
            return Decision(moved, _take(step, sizing, memory), reason)
    return Decision(sizing, memory, "")


def _take(step: Step, sizing: Sizing, memory: Memory) -> Memory:
    """Put a step on trial; one up soon after one down says that the one down did not hold."""
    down = Step(step.knob, False)
    if step.up and down in memory.recent:
        memory = _ban(down, memory)
    return _begin_again(
        memory,
        trial=Trial(step, sizing, _typical(memory.throughputs)),
        recent={**memory.recent, step: 0},
    )


def _take_back(trial: Trial, lost: float, memory: Memory) -> Decision:
    """Return to what was before a step that cost throughput."""
    memory = _ban(trial.step, memory)
    reason = (
        f"{trial.step.knob} back to {getattr(trial.before, trial.step.knob)}: throughput fell by {lost:.0%}; "
        f"not tried again for {memory.bans[trial.step]} batches"
    )
    return Decision(trial.before, _begin_again(memory, trial=None), reason)


def _ban(step: Step, memory: Memory) -> Memory:
    """Forbid a step for a while, twice as long as the time before."""
    failures = memory.failures.get(step, 0)
    return dataclasses.replace(
        memory,
        bans={**memory.bans, step: min(FIRST_BAN * 2**failures, LONGEST_BAN)},
        failures={**memory.failures, step: failures + 1},
        recent={other: age for other, age in memory.recent.items() if other != step},
    )


def _begin_again(memory: Memory, **changes: Any) -> Memory:
    """What was seen with the former sizing says nothing about the next."""
    return dataclasses.replace(memory, wishes={}, throughputs=(), rest=REST, **changes)


def _typical(throughputs: tuple[float, ...]) -> float:
    """Return the median of enough batches, or 0."""
    return sorted(throughputs)[len(throughputs) // 2] if len(throughputs) >= REST else 0.0


class Adaptive:
    """The controller that sizes batches.

    Parameters
    ----------
    sizing : Sizing
        Where it begins.
    limits : Limits, optional
        How far it goes; by default as many workers as there are cores.

    Attributes
    ----------
    sizing : Sizing
        Of the next batch.
    reason : str
        Why the sizing changed last, in words.
    """

    def __init__(self, sizing: Sizing, limits: Limits | None = None) -> None:
        self.sizing = sizing
        self.limits = limits or Limits()
        self.reason = ""
        self._memory = Memory()

    def before(self, plan: Plan) -> Plan:
        """Give the plan the sizing that was decided."""
        return dataclasses.replace(plan, sizing=self.sizing)

    def after(self, outcome: Outcome) -> None:
        """Decide the next."""
        self.sizing, self._memory, reason = decide(self.sizing, outcome, self._memory, self.limits)
        self.reason = reason or self.reason
