"""Processes that write a baseline, and what happens to them. Run as ``python -m baselines.writers SITUATION ...``."""

from __future__ import annotations

import os
import random
import resource
import signal
import sys
import time
from pathlib import Path

from pytest_supervm.baselines import FileStore, StoreUnwritable
from pytest_supervm.baselines.record import encode

from .runs import a_run

WEIGHT = 5_000
"""Blocks in a run: enough that writing one takes a while to be killed in."""


def append(folder: Path, first: int, count: int) -> None:
    """Append `count` runs, numbered from `first`."""
    for number in range(first, first + count):
        FileStore(folder, folder).append("main", a_run(number))


def killed(folder: Path, rounds: int, seed: int) -> None:
    """Kill writers at random moments, and check after each that the file holds whole runs and every promised one.

    The writer's promise is a byte on a pipe, sent when `append` has returned.
    """
    store, chance, file = FileStore(folder, folder), random.Random(seed), folder / "main.jsonl"
    kept = 0
    for _ in range(rounds):
        promises, promise = os.pipe()
        if not (writer := os.fork()):
            os.write(promise, b"-")  # started
            for number in range(kept, kept + 1000):
                store.append("main", a_run(number, weight=WEIGHT))
                os.write(promise, b".")
        os.close(promise)
        os.read(promises, 1)
        time.sleep(chance.uniform(0, 0.03))
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
        promised = kept
        while received := os.read(promises, 4096):
            promised += len(received)
        os.close(promises)
        held = file.read_bytes() if file.exists() else b""
        kept = held.count(b"\n")
        assert promised <= kept <= promised + 1, f"{promised} runs were promised, {kept} are there"
        assert held == b"".join(encode(a_run(number, weight=WEIGHT)) for number in range(kept)), "a line is not whole"
    store.append("main", a_run(kept, weight=WEIGHT))
    assert [entry.name for entry in folder.iterdir()] == ["main.jsonl"], "a killed writer's copy was left behind"
    print(kept)


def limited(folder: Path, number: int, size: int) -> None:
    """Append a run where no file may grow beyond `size` bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    try:
        FileStore(folder, folder).append("main", a_run(number))
    except StoreUnwritable as error:
        print(error)


if __name__ == "__main__":
    situation, folder, *numbers = sys.argv[1:]
    globals()[situation](Path(folder), *map(int, numbers))
