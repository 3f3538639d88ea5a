"""Placement, planned on trees of machines with several nodes, and done for real on the one that is there."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervm_core.engine import SuperVM
from supervm_core.errors import PlacementError, SettingError
from supervm_core.execution import partitioned
from supervm_core.machine import memory, topology
from supervm_core.machine.placement import Binding, Homes, Placement, plan
from supervm_core.machine.topology import Node, Topology
from supervm_core.workloads import transfers

from . import trees

EVERY_CORE = range(1024)

TWO_SOCKETS = {0: "0-3,8-11", 1: "4-7,12-15"}
HYPER_THREADS = [f"{core},{core + 8}" for core in range(8)]


@pytest.fixture
def two_sockets(tmp_path: Path) -> Path:
    """Two nodes of four cores with two hyper-threads each."""
    return trees.write(tmp_path / "system", TWO_SOCKETS, siblings=HYPER_THREADS)


def test_nodes_are_read_with_their_cores_memory_and_distances(two_sockets: Path) -> None:
    found = topology.read(two_sockets, EVERY_CORE)
    assert found.nodes == (
        Node(0, (0, 1, 2, 3, 8, 9, 10, 11), 4, 16_384 * 1024, (10, 21)),
        Node(1, (4, 5, 6, 7, 12, 13, 14, 15), 4, 16_384 * 1024, (21, 10)),
    )
    assert found.cores == 16


def test_only_cores_that_may_be_used_count(two_sockets: Path) -> None:
    """In a container with a share of the machine, binding to somebody else's core would fail."""
    found = topology.read(two_sockets, {1, 9, 12})
    assert [(node.cores, node.physical) for node in found.nodes] == [((1, 9), 1), ((12,), 1)]
    assert [node.cores for node in topology.read(two_sockets, {8}).nodes] == [(8,)]


def test_nodes_without_a_usable_core_are_left_out_with_their_distances(tmp_path: Path) -> None:
    """Memory alone (CXL) is a node without cores; numbers may have gaps."""
    matrix = [[10, 17, 28], [17, 10, 33], [28, 33, 10]]
    tree = trees.write(tmp_path / "system", {0: "0-1", 2: "", 5: "2-3"}, distances=matrix)
    found = topology.read(tree, EVERY_CORE)
    assert [(node.number, node.distances) for node in found.nodes] == [(0, (10, 28)), (5, (28, 10))]


def test_a_machine_that_says_nothing_is_one_node_with_the_usable_cores(tmp_path: Path) -> None:
    assert topology.read(tmp_path, {3, 1}).nodes == (Node(0, (1, 3), 2, 0, (10,)),)


def test_no_usable_core_is_an_error_that_names_both_sides(two_sockets: Path) -> None:
    with pytest.raises(PlacementError, match=r"may use \(99\) is in a node of .*; leave placement off"):
        topology.read(two_sockets, {99})


@pytest.mark.parametrize(
    ("file", "text", "wanted"),
    [
        ("node/online", "zero", "a list such as 0-3,8"),
        ("node/node0/cpulist", "3-1", "a list such as 0-3,8"),
        ("node/node1/distance", "10", "2 distances, one per node: it has 1"),
        ("node/node1/distance", "near far", "a distance per node"),
        ("node/node1/meminfo", "Node 1 MemTotal:", "a line such as"),
        ("cpu/cpu4/topology/thread_siblings_list", "4,", "a list such as 0-3,8"),
    ],
)
def test_a_file_that_makes_no_sense_is_named(two_sockets: Path, file: str, text: str, wanted: str) -> None:
    (two_sockets / file).write_text(text)
    with pytest.raises(PlacementError, match=f"{file} should hold {wanted}"):
        topology.read(two_sockets, EVERY_CORE)


def test_a_missing_file_is_named(two_sockets: Path) -> None:
    (two_sockets / "node" / "node1" / "cpulist").unlink()
    with pytest.raises(PlacementError, match="node1/cpulist should hold"):
        topology.read(two_sockets, EVERY_CORE)


@given(st.sets(st.integers(0, 300)))
def test_lists_of_numbers_are_read_as_the_kernel_writes_them(expected: set[int]) -> None:
    parts, ordered = [], sorted(expected)
    while ordered:
        run = 1
        while run < len(ordered) and ordered[run] == ordered[0] + run:
            run += 1
        parts.append(f"{ordered[0]}-{ordered[run - 1]}" if run > 1 else f"{ordered[0]}")
        ordered = ordered[run:]
    assert topology.numbers(",".join(parts) + "\n") == sorted(expected)


@pytest.mark.parametrize("shards", [1, 4, 9])
def test_one_node_is_left_alone_and_says_so(shards: int) -> None:
    placed = plan(Topology((Node(0, (0, 1), 2, 0, (10,)),)), shards)
    assert placed.bindings == ()
    assert placed.reason == "one node with 2 cores: all memory is equally near, nothing to gain"


def test_two_sockets_share_the_shards_each_on_the_cores_of_its_node(two_sockets: Path) -> None:
    placed = plan(topology.read(two_sockets, EVERY_CORE), 3)
    first, second = frozenset({0, 1, 2, 3, 8, 9, 10, 11}), frozenset({4, 5, 6, 7, 12, 13, 14, 15})
    assert placed.bindings == (Binding(0, 0, first), Binding(1, 1, second), Binding(2, 0, first))
    assert placed.reason == "2 on node 0, 1 on node 1; memory of another node would cost up to 2.1 times as much"


def test_hyper_threads_are_no_cores_to_spare(tmp_path: Path) -> None:
    """Eight logical cores of four physical ones are worth less than six real ones."""
    tree = trees.write(tmp_path / "system", {0: "0-7", 1: "8-13"}, siblings=["0,4", "1,5", "2,6", "3,7"])
    nodes = [binding.node for binding in plan(topology.read(tree, EVERY_CORE), 10).bindings]
    assert (nodes.count(0), nodes.count(1)) == (4, 6)


def test_nodes_of_unequal_size_get_their_due(tmp_path: Path) -> None:
    tree = trees.write(tmp_path / "system", {0: "0-5", 1: "6-7"})
    nodes = [binding.node for binding in plan(topology.read(tree, EVERY_CORE), 8).bindings]
    assert (nodes.count(0), nodes.count(1)) == (6, 2)


TOPOLOGIES = st.lists(st.integers(1, 6), min_size=2, max_size=5).map(
    lambda sizes: Topology(
        tuple(
            Node(number, tuple(range(100 * number, 100 * number + size)), size, 0, (10,) * len(sizes))
            for number, size in enumerate(sizes)
        )
    )
)


@given(TOPOLOGIES, st.integers(1, 40))
def test_no_node_is_crowded_while_another_has_a_core_to_spare(machine: Topology, shards: int) -> None:
    bindings = plan(machine, shards).bindings
    assert [binding.shard for binding in bindings] == list(range(shards))
    numbers = [binding.node for binding in bindings]
    to_spare = [node.physical - numbers.count(node.number) for node in machine.nodes]
    assert min(to_spare) >= 0 or max(to_spare) <= 0
    assert all(binding.cores == set(machine.nodes[binding.node].cores) for binding in bindings)


def test_at_least_one_shard_is_wanted() -> None:
    with pytest.raises(SettingError, match="0 shards cannot be placed"):
        plan(Topology((Node(0, (0,), 1, 0, (10,)),)), 0)


def in_thread(work: object) -> list[object]:
    """Run in a thread of its own, whose affinity and policy die with it; return what it did or raised."""
    found: list[object] = []

    def run() -> None:
        try:
            found.append(work())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found


@pytest.fixture
def node() -> int:
    """A node of this machine, if the kernel lets us choose memory at all."""
    here = topology.read().nodes[0]
    (answer,) = in_thread(lambda: memory.prefer(here.number))
    if isinstance(answer, PlacementError):
        pytest.skip(f"memory cannot be placed here: {answer}")
    return here.number


def test_a_bound_thread_runs_on_its_core_and_prefers_its_node_and_no_other_thread_does(node: int) -> None:
    core = min(os.sched_getaffinity(0))
    before = os.sched_getaffinity(0)

    def work() -> tuple[set[int], int | None]:
        Binding(0, node, frozenset({core})).apply()
        return os.sched_getaffinity(0), memory.preferred()

    assert in_thread(work) == [({core}, node)]
    assert os.sched_getaffinity(0) == before
    assert memory.preferred() is None


def test_a_core_that_is_not_there_is_refused_with_the_remedy() -> None:
    (error,) = in_thread(Binding(3, 0, frozenset({1023})).apply)
    assert isinstance(error, PlacementError)
    assert "shard 3 cannot run on the cores of node 0" in str(error)
    assert "plan again" in str(error)


@pytest.mark.usefixtures("node")
def test_a_node_that_is_not_there_is_refused_and_leaves_the_thread_free() -> None:
    core, before = min(os.sched_getaffinity(0)), os.sched_getaffinity(0)

    def work() -> tuple[str, set[int]]:
        with pytest.raises(PlacementError, match=r"refuses memory of node 900: .*choose one of its own") as caught:
            Binding(0, 900, frozenset({core})).apply()
        return type(caught.value).__name__, os.sched_getaffinity(0)

    assert in_thread(work) == [("PlacementError", before)]


def test_the_system_chooses_again_when_asked_to(node: int) -> None:
    def work() -> int | None:
        memory.prefer(node)
        memory.prefer(None)
        return memory.preferred()

    assert in_thread(work) == [None]


def test_moving_an_array_changes_nothing_in_it(node: int) -> None:
    numbers = np.arange(100_000)
    memory.move(numbers, node)
    assert (numbers == np.arange(100_000)).all()
    memory.move(np.zeros(3), node)
    assert memory.empty(50_000, np.uint64, node).shape == (50_000,)


def test_an_array_with_gaps_is_refused() -> None:
    with pytest.raises(PlacementError, match="not contiguous"):
        memory.move(np.zeros(100_000)[::2], 0)
    with pytest.raises(PlacementError, match="counted from 0"):
        memory.prefer(-1)


def test_another_system_is_told_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "sparc64")
    with pytest.raises(PlacementError, match="on Linux sparc64; known is Linux on x86_64, aarch64, riscv64"):
        memory.prefer(0)


TWO_NODES = Placement((Binding(0, 0, frozenset({0})), Binding(1, 1, frozenset({1}))), "planned")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """What a machine with two nodes would have been asked for."""
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, cores: asked.append(("cores", set(cores))))
    monkeypatch.setattr(memory, "prefer", lambda node: asked.append(("prefer", node)))
    monkeypatch.setattr(memory, "move", lambda array, node: asked.append(("move", array.tolist(), node)))
    return asked


def test_a_shard_at_home_is_bound_for_the_time_of_its_task(calls: list[tuple[object, ...]]) -> None:
    homes = Homes(TWO_NODES)
    assert homes.at_home(1, lambda: calls.append(("task",)) or 5)() == 5
    assert calls == [("cores", {1}), ("prefer", 1), ("task",), ("cores", {0, 1}), ("prefer", None)]


def test_a_thread_is_free_again_after_a_task_that_failed(calls: list[tuple[object, ...]]) -> None:
    with pytest.raises(ZeroDivisionError):
        Homes(TWO_NODES).at_home(0, lambda: 1 / 0)()
    assert calls[-2:] == [("cores", {0, 1}), ("prefer", None)]


def test_accounts_move_to_their_shards_node_once(calls: list[tuple[object, ...]]) -> None:
    homes, arrays = Homes(TWO_NODES), [np.arange(4), np.arange(4, 8)]
    for _ in range(2):
        homes.settle(arrays, [(0, 1), (1, 4)])
    moved = [("move", [0], 0), ("move", [4], 0), ("move", [1, 2, 3], 1), ("move", [5, 6, 7], 1)]
    assert calls == moved
    homes.settle([np.arange(4)], [(0, 4), (4, 4)])
    assert len(calls) == len(moved) + 2


def test_what_the_system_refuses_is_told_and_work_goes_on(
    calls: list[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception between two shards' tasks would leave the ledger half changed."""

    def refuse(*_: object) -> None:
        raise PlacementError("the kernel refuses memory of node 1")

    homes = Homes(TWO_NODES)
    monkeypatch.setattr(memory, "prefer", refuse)
    assert homes.at_home(1, lambda: 7)() == 7
    assert homes.reason == "nothing is bound: the kernel refuses memory of node 1"
    calls.clear()
    assert homes.at_home(0, lambda: 8)() == 8
    homes.settle([np.arange(4)], [(0, 2), (2, 4)])
    assert calls == []


@pytest.mark.parametrize("nodes", [1, 2])
def test_ledger_says_where_its_shards_live_and_executes_as_specified(
    nodes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On recorded trees; of two nodes, this machine has at most one, and what it refuses must not change a result."""
    cores = sorted(os.sched_getaffinity(0))
    tree = trees.write(tmp_path / "system", {node: str(cores[-node]) for node in range(nodes)})
    monkeypatch.setattr(topology, "SYSFS", tree)
    monkeypatch.setattr(partitioned, "SHARD", 1)
    features = ["partitioned-fastpath", "numa-affinity"]
    vm = SuperVM.with_accounts(5_000, balance=10**6, features=features, partitions=4, threads=2)
    specified = SuperVM(vm.state, executor="reference")
    batch = transfers(5_000, accounts=5_000)
    assert vm.placement is None
    assert vm.execute(batch) == specified.execute(batch)
    assert vm.state == specified.state
    assert vm.placement is not None
    wanted = "nothing to gain" if nodes == 1 else "1 on node 0, 1 on node 1|nothing is bound"
    assert re.search(wanted, vm.placement)
    assert sorted(os.sched_getaffinity(0)) == cores
