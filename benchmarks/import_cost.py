"""What the plugin costs a project that has it installed and does not use it.

A fresh interpreter imports pytest, then the plugin; the time of the second import is taken inside it. The same
interpreter start is also timed as a whole: ``pytest --version`` with the plugin and without, in turns.
"""

from __future__ import annotations

import subprocess
import sys
import time

import tables

ROUNDS = 40
INSIDE = """
import time, pytest
start = time.perf_counter()
import pytest_supervm.plugin
print(time.perf_counter() - start)
"""


def whole(*options: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "pytest", "--co", "-q", *options, "--pyargs", "xdist"], capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    inside = []
    with_plugin, without = [], []
    for _ in range(ROUNDS):
        done = subprocess.run([sys.executable, "-c", INSIDE], capture_output=True, text=True, check=True)
        inside.append(1000 * float(done.stdout))
        without.append(whole("-p", "no:supervm"))
        with_plugin.append(whole())
    ratios = [a / b for a, b in zip(with_plugin, without, strict=True)]
    tables.write(
        "import_cost",
        "What it costs when it is not used",
        "Milliseconds to import the plugin after pytest, and a whole pytest start that finds no tests, with the plugin "
        f"over without it; {ROUNDS} fresh interpreters each, in turns.",
        ["figure", "median [middle half]"],
        [
            ["import of the plugin, ms", tables.spread(inside)],
            ["whole start, with over without", tables.spread(ratios, "{:.3f}")],
        ],
    )


if __name__ == "__main__":
    main()
