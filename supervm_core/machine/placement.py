"""Placement: shards and their workers near their memory (`numa-affinity`).

A plan binds each shard to the cores of one node and its memory to that node, so that nobody reaches across. Among the
cores of its node the scheduler may choose: a shard that was nailed to one core would wait for whoever else runs there.
Shards are dealt out one by one, each to the node that then has most physical cores per shard, so that nodes of unequal
size get their due and none is crowded while another has a core to spare.

On a machine with one node there is nothing to gain, and the plan says so: binding could only take the scheduler's
freedom away, so it binds nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from supervm_core.errors import PlacementError, SettingError
from supervm_core.machine import memory
from supervm_core.machine.topology import OWN_DISTANCE, Topology


@dataclass(frozen=True, slots=True)
class Binding:
    """Where a shard lives."""

    shard: int
    node: int
    """Number of the node whose memory it uses."""
    cores: frozenset[int]
    """Where its worker may run: the cores of that node."""

    def apply(self) -> None:
        """Bind the calling thread, and the memory that it touches first from now on.

        Raises
        ------
        PlacementError
            If the system refuses; the thread may then run anywhere, as before.
        """
        before = os.sched_getaffinity(0)
        try:
            os.sched_setaffinity(0, self.cores)
        except OSError as error:
            raise PlacementError(
                f"shard {self.shard} cannot run on the cores of node {self.node}: {error.strerror}. The cores that "
                "this process may use have changed since the plan was made; plan again"
            ) from error
        try:
            memory.prefer(self.node)
        except PlacementError:
            os.sched_setaffinity(0, before)
            raise


@dataclass(frozen=True, slots=True)
class Placement:
    """Where all shards live."""

    bindings: tuple[Binding, ...]
    """By shard; empty where nothing is bound."""
    reason: str
    """In words: what was planned, or why there is nothing to gain."""


def plan(topology: Topology, shards: int) -> Placement:
    """Return where each shard should live.

    Parameters
    ----------
    topology : Topology
        As read.
    shards : int
        How many there are; with more than cores, some share one.

    Raises
    ------
    SettingError
        If there is not at least one shard.
    """
    if shards < 1:
        raise SettingError(f"{shards} shards cannot be placed; at least 1 is wanted")
    if len(topology.nodes) == 1:
        return Placement((), f"one node with {topology.cores} cores: all memory is equally near, nothing to gain")
    loads = [0] * len(topology.nodes)
    bindings = []
    for shard in range(shards):
        # The node that has most cores per shard once this one is added; of equal ones the first.
        place = max(range(len(loads)), key=lambda node: (topology.nodes[node].physical / (loads[node] + 1), -node))
        node = topology.nodes[place]
        bindings.append(Binding(shard, node.number, frozenset(node.cores)))
        loads[place] += 1
    spread = ", ".join(f"{load} on node {node.number}" for node, load in zip(topology.nodes, loads, strict=True))
    farthest = max(max(node.distances) for node in topology.nodes) / OWN_DISTANCE
    return Placement(tuple(bindings), f"{spread}; memory of another node would cost up to {farthest:.1f} times as much")


class Homes:
    """Keeps shards where a plan wants them, as far as the system lets it: if it refuses, work goes on where it is.

    Parameters
    ----------
    placement : Placement
        The plan.

    Attributes
    ----------
    reason : str
        In words: what was planned, or why nothing is bound, or what the system refused.
    """

    def __init__(self, placement: Placement) -> None:
        self.reason = placement.reason
        self._bindings = {binding.shard: binding for binding in placement.bindings}
        self._settled: list[int] = []

    def settle(self, arrays: Sequence[NDArray[Any]], ranges: Sequence[tuple[int, int]]) -> None:
        """Move each shard's range of the arrays to its node, unless these arrays were settled before."""
        addresses = [array.ctypes.data for array in arrays] if self._bindings else []
        if addresses == self._settled:
            return
        self._settled = addresses
        try:
            for shard, (low, high) in enumerate(ranges):
                for array in arrays:
                    if shard in self._bindings:
                        memory.move(array[low:high], self._bindings[shard].node)
        except PlacementError as error:
            self._give_up(error)

    def at_home(self, shard: int, task: Callable[[], object]) -> Callable[[], object]:
        """Return a task that does the same on the cores of the shard's node, whichever thread runs it."""
        binding = self._bindings.get(shard)
        if binding is None:
            return task

        def bound() -> object:
            before = os.sched_getaffinity(0)
            try:
                binding.apply()
            except PlacementError as error:
                self._give_up(error)
                return task()
            try:
                return task()
            finally:
                os.sched_setaffinity(0, before)
                memory.prefer(None)

        return bound

    def _give_up(self, error: PlacementError) -> None:
        self._bindings = {}
        self.reason = f"nothing is bound: {error}"
