"""How good a gate over kept runs is on this machine: false alarms on equal code, and a slowdown of 15 % that is real.

Six CPU-bound cases with the default policy of throughput. Ten runs are kept; then runs of the same code and runs in
which one case does 15 % more work are judged against them, in turns, so that both meet the same moods of the machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import tables
from scipy.stats import binomtest

KEPT = 10
GATES = 25
SUITE = """
import hashlib, json, pathlib, re
import pytest

MORE = float(pathlib.Path(__file__).with_name("more").read_text())


def loop(n):
    total = 0
    for i in range(n):
        total = (total * 31 + i) & 0xFFFFFFFF
    return total


TEXT = "lorem ipsum dolor sit amet " * 400
ROWS = [{"id": i, "name": str(i), "tags": [i, i + 1]} for i in range(200)]
CASES = {
    "loop": lambda: loop(int(10_000 * MORE)),
    "sort": lambda: sorted((i * 7919) % 10007 for i in range(3000)),
    "dict": lambda: {str(i): i for i in range(3000)},
    "json": lambda: json.loads(json.dumps(ROWS)),
    "regex": lambda: re.findall(r"[aeiou][a-z]+", TEXT),
    "hash": lambda: hashlib.sha256(TEXT.encode() * 20).digest(),
}


@pytest.mark.perf
@pytest.mark.parametrize("name", CASES)
def test_case(measure, name):
    measure(CASES[name])
"""
SETTINGS = """
[tool.supervm]
time = "400ms"
[tool.supervm.policy]
latency_p99 = { block = "off" }
"""
SLOWED = "test_suite.py::test_case[loop]"


def run(folder: Path, more: float, *options: str) -> dict[str, object]:
    (folder / "more").write_text(str(more))
    results = folder / "results.json"
    command = [sys.executable, "-m", "pytest", "-q", f"--supervm-json={results}", *options]
    subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=False)
    return json.loads(results.read_text())


def share(count: int, total: int) -> str:
    low, high = binomtest(count, total).proportion_ci(0.95, "exact")
    return f"{count} of {total} [{100 * low:.0f} %, {100 * high:.0f} %]"


def main() -> None:
    equal: Counter[str] = Counter()
    slowed: Counter[str] = Counter()
    alarms = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "test_suite.py").write_text(SUITE)
        (folder / "pyproject.toml").write_text(SETTINGS)
        for _ in range(KEPT):
            run(folder, 1.0, "--supervm-save=main")
        for _ in range(GATES):
            results = run(folder, 1.0, "--supervm-baseline=main")
            equal[results["gate"]] += 1
            judged = [row["verdict"] for row in results["cases"] if row["metric"] == "throughput"]
            alarms += any(verdict in ("regressed", "slower") for verdict in judged)
            results = run(folder, 1.15, "--supervm-baseline=main")
            (row,) = [row for row in results["cases"] if row["id"] == SLOWED and row["metric"] == "throughput"]
            slowed[row["verdict"]] += 1
    tables.write(
        "stored_gate",
        "A gate over kept runs",
        f"{KEPT} kept runs of six CPU-bound cases, throughput judged at level 0.01 with a threshold of 5 %; then "
        f"{GATES} gates of equal code and {GATES} in which one case does 15 % more work, in turns. Shares with exact "
        "95 % intervals. Minutes and hours change this machine's speed by more than the threshold: an honest gate over "
        "kept runs is then inconclusive, and what it must not do is call equal code slower.",
        ["gates", "outcome"],
        [
            ["equal code: any case regressed or slower", share(alarms, GATES)],
            *([f"equal code: gate {word}", share(equal[word], GATES)] for word in ("pass", "inconclusive")),
            *(
                [f"15 % more work: the case is {word}", share(slowed[word], GATES)]
                for word in ("regressed", "slower", "inconclusive", "equivalent")
            ),
        ],
    )


if __name__ == "__main__":
    main()
