"""Writing the files by which Linux describes its nodes, as machines have them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def write(
    root: Path,
    nodes: dict[int, str],
    *,
    distances: Sequence[Sequence[int]] | None = None,
    siblings: Sequence[str] = (),
    memory: int = 16_384,
) -> Path:
    """Write a tree: the core list of each node, the matrix of distances, and groups of cores that share one."""
    numbers = sorted(nodes)
    matrix = distances or [[10 if a == b else 21 for b in numbers] for a in numbers]
    (root / "node").mkdir(parents=True)
    (root / "node" / "online").write_text(",".join(map(str, numbers)) + "\n")
    for number, row in zip(numbers, matrix, strict=True):
        folder = root / "node" / f"node{number}"
        folder.mkdir()
        (folder / "cpulist").write_text(nodes[number] + "\n")
        (folder / "distance").write_text(" ".join(map(str, row)) + "\n")
        (folder / "meminfo").write_text(f"\nNode {number} MemTotal:       {memory} kB\nNode {number} MemFree: 1 kB\n")
    for group in siblings:
        for core in group.split(","):
            folder = root / "cpu" / f"cpu{core}" / "topology"
            folder.mkdir(parents=True)
            (folder / "thread_siblings_list").write_text(group + "\n")
    return root
