"""Which cores share which memory: the NUMA nodes of a Linux machine, read from sysfs.

On a machine with several nodes, a core reads its own node's memory faster than another's, often in half the time. The
kernel describes this in a few files (Documentation/ABI/stable/sysfs-devices-node of its sources):

    /sys/devices/system/node/online                  0-1           nodes that exist
    /sys/devices/system/node/node0/cpulist           0-3,8-11      their cores
    /sys/devices/system/node/node0/distance          10 21         relative cost of reaching each node's memory
    /sys/devices/system/node/node0/meminfo           Node 0 MemTotal: 16384 kB
    /sys/devices/system/cpu/cpu0/topology/thread_siblings_list    0,8    logical cores of one physical core

The root is a parameter, so that a tree recorded on another machine can be planned for. A machine without these files
(another system, a container that hides them) is one node with all cores that the process may use.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from supervm_core.errors import PlacementError

SYSFS = Path("/sys/devices/system")

OWN_DISTANCE = 10
"""What the firmware calls the distance of a node to itself; others are relative to it."""


@dataclass(frozen=True, slots=True)
class Node:
    """Cores, and the memory that they reach fastest."""

    number: int
    cores: tuple[int, ...]
    """Logical cores that this process may use, in rising order."""
    physical: int
    """How many physical cores they are: hyper-threads share one."""
    memory: int
    """Bytes; 0 where nobody says."""
    distances: tuple[int, ...]
    """Relative cost of reaching the memory of each node of the topology, in its order."""


@dataclass(frozen=True, slots=True)
class Topology:
    """The nodes of a machine on which this process may use at least one core."""

    nodes: tuple[Node, ...]

    @property
    def cores(self) -> int:
        """Logical cores that this process may use."""
        return sum(len(node.cores) for node in self.nodes)


def read(root: Path | None = None, allowed: Collection[int] | None = None) -> Topology:
    """Return the topology that sysfs describes.

    Parameters
    ----------
    root : Path, optional
        Folder that has `node` and `cpu` in it; this machine's when left out.
    allowed : collection of int, optional
        Cores that may be used; by default those that the scheduler grants this process.

    Raises
    ------
    PlacementError
        If a file is there and cannot be understood, or none of the cores in it may be used.
    """
    root = SYSFS if root is None else root
    usable = frozenset(os.sched_getaffinity(0) if allowed is None else allowed)
    online = root / "node" / "online"
    if not online.exists():
        cores = tuple(sorted(usable))
        return Topology((Node(0, cores, _physical(cores, root), 0, (OWN_DISTANCE,)),))
    numbers = _number_list(online)
    distances = {number: _distances(root / "node" / f"node{number}" / "distance", len(numbers)) for number in numbers}
    found = {
        number: tuple(sorted(usable.intersection(_number_list(root / "node" / f"node{number}" / "cpulist"))))
        for number in numbers
    }
    kept = [place for place, number in enumerate(numbers) if found[number]]
    if not kept:
        raise PlacementError(
            f"none of the cores that this process may use ({_shown(usable)}) is in a node of {root / 'node'}; "
            "leave placement off, or pass the cores that belong to that folder"
        )
    return Topology(
        tuple(
            Node(
                number := numbers[place],
                found[number],
                _physical(found[number], root),
                _memory(root / "node" / f"node{number}" / "meminfo"),
                tuple(distances[number][other] for other in kept),
            )
            for place in kept
        )
    )


def numbers(text: str) -> list[int]:
    """Read the kernel's lists of numbers: `0-3,8` is 0, 1, 2, 3, 8; an empty text is no number.

    Raises
    ------
    ValueError
        If it is no such list.
    """
    found: list[int] = []
    for part in text.strip().split(",") if text.strip() else []:
        first, dash, last = part.partition("-")
        begin, end = int(first), int(last if dash else first)
        if not 0 <= begin <= end:
            raise ValueError(f"{part!r} is no range")
        found += range(begin, end + 1)
    return found


def _number_list(file: Path) -> list[int]:
    try:
        return numbers(file.read_text())
    except (OSError, ValueError) as error:
        raise _unreadable(file, "a list such as 0-3,8", error) from error


def _distances(file: Path, nodes: int) -> list[int]:
    try:
        found = [int(word) for word in file.read_text().split()]
    except (OSError, ValueError) as error:
        raise _unreadable(file, "a distance per node", error) from error
    if len(found) != nodes:
        raise _unreadable(file, f"{nodes} distances, one per node", f"it has {len(found)}")
    return found


def _memory(file: Path) -> int:
    """Return the bytes of a node; 0 where the file does not exist."""
    try:
        lines = file.read_text().splitlines() if file.exists() else []
        return next((int(line.split()[3]) * 1024 for line in lines if "MemTotal:" in line), 0)
    except (OSError, ValueError, IndexError) as error:
        raise _unreadable(file, "a line such as 'Node 0 MemTotal: 1024 kB'", error) from error


def _physical(cores: Collection[int], root: Path) -> int:
    """Return how many physical cores these are; a core that names no siblings is one of its own."""
    groups = set()
    for core in cores:
        siblings = root / "cpu" / f"cpu{core}" / "topology" / "thread_siblings_list"
        groups.add(tuple(_number_list(siblings)) if siblings.exists() else (core,))
    return len(groups)


def _shown(cores: Collection[int]) -> str:
    return ", ".join(map(str, sorted(cores))) or "none"


def _unreadable(file: Path, wanted: str, reason: object) -> PlacementError:
    return PlacementError(f"{file} should hold {wanted}: {reason}. Leave placement off on this machine")
