"""How good the live gate is on this machine: false alarms, slowdowns caught, seconds, and what kills leave behind.

Four kinds of gates over six CPU-bound cases, in turns: equal code on a quiet machine, equal code beside a random noisy
neighbour, and one case that does 8 % or 3 % more work than at the merge base (each case in its turn; the threshold is
5 %). A case's work is a hundred equal pieces, so that three or eight more are exactly that. Beside them, on the same
cases, what pytest-benchmark's ``--benchmark-compare-fail=mean:5%`` says of one session after another. At last, gates
are killed at a random moment, and the next one must find nothing left but what it removes.

Every gate is a line in ``benchmarks/gate_quality.jsonl``, so that a run which is interrupted goes on where it was. The
line holds the commit that was measured; begin a kind anew with ``--fresh`` after a change of what measures or judges.

    python benchmarks/gate_quality.py [--only KIND ...] [--fresh]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gate_figure
import psutil
import tables
from scipy.stats import binomtest

from pytest_supervm.measure import provenance

LOG = Path(__file__).with_suffix(".jsonl")

PIECES = 100
CASES = ("loop", "sort", "dict", "json", "regex", "hash")
SUITE = """
import hashlib, json, pathlib, re
import pytest

MORE = json.loads(pathlib.Path(__file__).with_name("more.json").read_text())


def loop():
    total = 0
    for i in range(60):
        total = (total * 31 + i) & 0xFFFFFFFF
    return total


NUMBERS = [(i * 7919) % 10007 for i in range(40)]
TEXT = "lorem ipsum dolor sit amet " * 4
ROWS = [{"id": 1, "name": "one", "tags": [1, 2]}]
PIECES = {
    "loop": loop,
    "sort": lambda: sorted(NUMBERS),
    "dict": lambda: {str(i): i for i in range(20)},
    "json": lambda: json.loads(json.dumps(ROWS)),
    "regex": lambda: re.findall(r"[aeiou][a-z]+", TEXT),
    "hash": lambda: hashlib.sha256(TEXT.encode() * 16).digest(),
}


@pytest.fixture(params=PIECES)
def work(request):
    piece, pieces = PIECES[request.param], 100 + MORE.get(request.param, 0)

    def work():
        for _ in range(pieces):
            piece()

    return work


def test_case(work, METER):
    METER(work)
"""
SETTINGS = """
[tool.supervm.policy]
throughput = { warn = "5%", block = "5%" }
latency_p99 = { block = "off" }
"""

QUIET, NOISY, EIGHT, THREE = "equal, quiet", "equal, noisy", "8 % more", "3 % more"
PLAIN_EQUAL, PLAIN_EIGHT = "pytest-benchmark: equal", "pytest-benchmark: 8 % more"
KILLED = "killed"
# Of the gates that are to be killed, some end before their moment comes.
GATES = {QUIET: 100, NOISY: 100, EIGHT: 100, THREE: 100, PLAIN_EQUAL: 50, PLAIN_EIGHT: 50, KILLED: 65}
MORE_WORK = {EIGHT: 8, THREE: 3, PLAIN_EIGHT: 8}


class Arena:
    """A repository with the suite, whose branch ``feature`` has one commit more than ``main``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "project"
        self.temporary = folder / "tmp"
        self.cache = folder / "cache"
        runtime = folder / "run"
        for place in (self.folder, self.temporary, self.cache, runtime):
            place.mkdir(mode=0o700)
        self.environment = {name: value for name, value in os.environ.items() if name not in ("CI", "PYTEST_ADDOPTS")}
        self.environment |= {
            "TMPDIR": str(self.temporary),
            "XDG_CACHE_HOME": str(self.cache),
            "XDG_RUNTIME_DIR": str(runtime),
        }
        (self.folder / "test_suite.py").write_text(SUITE.replace("METER", "measure"))
        (self.folder / "plain").mkdir()
        (self.folder / "plain" / "test_plain.py").write_text(SUITE.replace("METER", "benchmark"))
        (self.folder / "pyproject.toml").write_text(SETTINGS)
        self.set_more({})
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message=begin")
        self.git("switch", "--quiet", "--create=feature")
        self.git("commit", "--quiet", "--allow-empty", "--message=change")

    def git(self, *arguments: str) -> str:
        command = ["git", "-C", str(self.folder), "-c", "user.name=x", "-c", "user.email=x@example.com", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def set_more(self, more: dict[str, int]) -> None:
        for place in (self.folder, self.folder / "plain"):
            (place / "more.json").write_text(json.dumps(more))

    def pytest(self, *options: str) -> list[str]:
        return [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]

    def run(self, *options: str) -> int:
        command = self.pytest(*options)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.run(command, cwd=self.folder, env=self.environment, check=False, **quiet).returncode

    def gate(self, *options: str) -> dict[str, Any]:
        """Run the gate and return its results with the seconds that the whole command took."""
        results = self.folder / "results.json"
        results.unlink(missing_ok=True)
        start = time.monotonic()
        status = self.run("test_suite.py", "--supervm-baseline=git:main", f"--supervm-json={results}", *options)
        seconds = time.monotonic() - start
        return json.loads(results.read_text()) | {"seconds": seconds, "status": status}

    def left_behind(self) -> list[str]:
        """Name what a gate has left: worktrees, notes, scratch folders, worktrees' folders, drafts of files."""
        trees = self.git("worktree", "list", "--porcelain").count("worktree ") - 1
        notes = [str(path) for path in (self.folder / ".git").glob("supervm/*")]
        places = [path for place in (self.temporary, self.cache / "pytest-supervm") for path in place.glob("*")]
        drafts = self.folder.glob(".results*")
        return [*(["a worktree"] * trees), *notes, *map(str, places), *map(str, drafts)]


@contextmanager
def neighbour(seed: int) -> Iterator[None]:
    """Have a noisy neighbour: bursts of one or two busy processes, for random times, that compute or stream memory."""
    process = psutil.Popen([sys.executable, __file__, "--be-noisy", str(seed)])
    try:
        yield
    finally:
        process.suspend()
        for busy in [*process.children(recursive=True), process]:
            busy.kill()
        process.wait()


def be_noisy(seed: int) -> None:
    parent = os.getppid()
    rng = random.Random(seed)
    here = f"import os\nwhile os.getppid() == {os.getpid()}: "  # so that nobody outlives this process
    spin = f"{here}sum(range(10000))"
    stream = f"a = bytes(64 << 20)\n{here}bytearray(a)"
    while os.getppid() == parent:
        busy = [subprocess.Popen([sys.executable, "-c", rng.choice([spin, stream])]) for _ in range(rng.randint(1, 2))]
        time.sleep(rng.expovariate(1.0))
        for process in busy:
            process.kill()
            process.wait()
        time.sleep(rng.expovariate(1.0))


def play(arena: Arena, kind: str, number: int) -> dict[str, Any]:
    """Play one gate and return what is kept of it."""
    slowed = CASES[number % len(CASES)]
    more = MORE_WORK.get(kind, 0)
    arena.set_more({slowed: more} if more else {})
    if kind in (PLAIN_EQUAL, PLAIN_EIGHT):
        return {"slowed": slowed, **_plain(arena, kind)}
    if kind == KILLED:
        return _killed(arena, number)
    if kind == NOISY:
        with neighbour(number):
            results = arena.gate()
    else:
        results = arena.gate()
    rows = {
        row["id"].partition("[")[2].rstrip("]"): [
            row["verdict"],
            *_round(row["effect"], *(row["interval"] or ())),
            row["launches"],
        ]
        for row in results["cases"]
        if row["metric"] == "throughput"
    }
    kept = {"seconds": round(results["seconds"], 2), "gate": results["gate"], "rows": rows}
    return kept | ({"slowed": slowed} if more else {})


def _round(*values: float | None) -> list[float | None]:
    return [None if value is None else round(value, 5) for value in values]


def _plain(arena: Arena, kind: str) -> dict[str, Any]:
    """Compare a session with the one of unchanged code before it, as people do with pytest-benchmark alone."""
    folder, means = arena.folder.parent / "benchmarks", arena.folder.parent / "means.json"
    session = ("plain", "-p", "no:supervm", f"--benchmark-storage=file://{folder}", f"--benchmark-json={means}")
    more = json.loads((arena.folder / "more.json").read_text())
    if not folder.exists():
        arena.set_more({})
        arena.run(*session, "--benchmark-save=equal")
        arena.set_more(more)
    before = _means(max(folder.rglob("*_equal.json")))
    save = ["--benchmark-save=equal"] if kind == PLAIN_EQUAL else []
    start = time.monotonic()
    status = arena.run(*session, "--benchmark-compare", "--benchmark-compare-fail=mean:5%", *save)
    seconds = round(time.monotonic() - start, 2)
    changes = {case: round(math.log(mean / before[case]), 5) for case, mean in _means(means).items()}
    return {"seconds": seconds, "status": status, "rows": changes}


def _means(path: Path) -> dict[str, float]:
    """Return the mean of each case, from a file of pytest-benchmark."""
    found = json.loads(path.read_text())["benchmarks"]
    return {one["name"].partition("[")[2].rstrip("]"): one["stats"]["mean"] for one in found}


def _killed(arena: Arena, number: int) -> dict[str, Any]:
    """Kill a gate at a random moment, and look at what there is after the next one."""
    rng = random.Random(number)
    results, page = arena.folder / "results.json", arena.folder / "results.html"
    for path in (results, page):
        path.unlink(missing_ok=True)
    options = ("test_suite.py", "--supervm-baseline=git:main", f"--supervm-json={results}", f"--supervm-report={page}")
    command = arena.pytest(*options, "--supervm-budget=4s")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=arena.folder, env=arena.environment, **quiet)
    moment = rng.uniform(0, 5)
    time.sleep(moment)
    family = [process, *psutil.Process(process.pid).children(recursive=True)] if process.poll() is None else []
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs([child for child in family if isinstance(child, psutil.Process)], timeout=10)
    half = [path.name for path in (results, page) if path.exists() and not _whole(path)]
    left = arena.left_behind()
    arena.gate("--supervm-budget=1ms")
    return {
        "moment": round(moment, 3),
        "ended before": not family,
        "left": len(left),
        "orphans": len(alive),
        "half written": half,
        "left after the next": arena.left_behind(),
    }


def _whole(path: Path) -> bool:
    """Tell whether a file is complete."""
    text = path.read_text()
    if path.suffix == ".html":
        return text.rstrip().endswith("</html>")
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def share(count: int, total: int) -> str:
    """Write a share with its exact 95 % interval: ``1 of 200 [0.0 %, 2.8 %]``."""
    low, high = binomtest(count, total).proportion_ci(0.95, "exact")
    return f"{count} of {total} [{100 * low:.1f} %, {100 * high:.1f} %]"


def alarmed(gate: dict[str, Any]) -> bool:
    return any(row[0] in ("regressed", "slower") for row in gate["rows"].values())


def table(log: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Return the rows of the table for the kinds that have been played."""
    by_kind = {kind: [line for line in log if line["kind"] == kind] for kind in GATES}
    quiet, noisy, eight, three = (by_kind[kind] for kind in (QUIET, NOISY, EIGHT, THREE))
    rows = []
    for words, gates in (("quiet", quiet), ("beside a noisy neighbour", noisy), ("both", quiet + noisy)):
        if gates:
            rows.append(
                [f"equal code, {words}: a case `regressed` or `slower`", share(sum(map(alarmed, gates)), len(gates))]
            )
    for words, gates in (("quiet", quiet), ("beside a noisy neighbour", noisy)):
        if gates:
            inconclusive = sum(gate["gate"] == "inconclusive" for gate in gates)
            rows.append([f"equal code, {words}: the gate cannot tell", share(inconclusive, len(gates))])
            rows.append([f"equal code, {words}: seconds a gate", tables.spread([gate["seconds"] for gate in gates])])
    for words, gates, wanted in (("8 %", eight, ["regressed"]), ("3 %", three, ["regressed", "slower"])):
        if gates:
            caught = sum(gate["rows"][gate["slowed"]][0] in wanted for gate in gates)
            others = sum(
                any(row[0] in ("regressed", "slower") for case, row in gate["rows"].items() if case != gate["slowed"])
                for gate in gates
            )
            said = " or ".join(f"`{word}`" for word in reversed(wanted))
            rows.append([f"{words} more work: that case {said}", share(caught, len(gates))])
            rows.append([f"{words} more work: another case `regressed` or `slower`", share(others, len(gates))])
            rows.append([f"{words} more work: seconds a gate", tables.spread([gate["seconds"] for gate in gates])])
    for words, kind in (("equal code", PLAIN_EQUAL), ("8 % more work", PLAIN_EIGHT)):
        if gates := by_kind[kind]:
            failed = sum(gate["status"] != 0 for gate in gates)
            rows.append([f"pytest-benchmark, `mean:5%`, {words}: fails", share(failed, len(gates))])
    if gates := by_kind[PLAIN_EQUAL]:
        rows.append(["pytest-benchmark: seconds a session", tables.spread([gate["seconds"] for gate in gates])])
    if kills := by_kind[KILLED]:
        midway = [kill for kill in kills if not kill["ended before"]]
        found = sum(kill["left"] > 0 for kill in kills)
        rows += [
            ["killed at a random moment: gates (of them while running)", f"{len(kills)} ({len(midway)})"],
            ["killed: something was left, for the next run to remove", str(found)],
            ["killed: something was left after the next run", str(sum(bool(k["left after the next"]) for k in kills))],
            ["killed: processes that outlived the gate", str(sum(kill["orphans"] for kill in kills))],
            ["killed: half-written files", str(sum(len(kill["half written"]) for kill in kills))],
        ]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=GATES, default=list(GATES), help="play only these kinds")
    parser.add_argument("--fresh", action="store_true", help="forget what was played before, of these kinds")
    parser.add_argument("--table", action="store_true", help="play nothing, write the table")
    parser.add_argument("--be-noisy", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.be_noisy is not None:
        be_noisy(options.be_noisy)
    log = [json.loads(line) for line in LOG.read_text().splitlines()] if LOG.exists() else []
    if options.fresh:
        log = [line for line in log if line["kind"] not in options.only]
        LOG.write_text("".join(json.dumps(line) + "\n" for line in log))
    machine = provenance.machine()
    here = f"{machine.cpu}, {machine.cores} cores, {machine.python}"
    counts = Counter(line["kind"] for line in log)
    commit = provenance.commit(LOG.parent, LOG.parent)
    folder = Path(tempfile.mkdtemp(prefix="gate-quality-"))
    try:
        arena = Arena(folder)
        for number in range(max(GATES.values()) if not options.table else 0):
            for kind in GATES:
                if kind in options.only and counts[kind] <= number < GATES[kind]:
                    line = {"kind": kind, "number": number, "commit": commit.id[:10], "machine": here}
                    line |= play(arena, kind, number)
                    log.append(line)
                    with LOG.open("a") as file:
                        file.write(json.dumps(line) + "\n")
                    print(line, flush=True)
    finally:
        shutil.rmtree(folder)
    origins = Counter((line["commit"], line["machine"]) for line in log)
    tables.write(
        "gate_quality",
        "How good the live gate is",
        "Gates of `pytest --supervm-baseline=git:main` over six CPU-bound cases, throughput judged at level 0.01 with "
        "a threshold of 5 %. The noisy neighbour is bursts of one or two processes that compute or stream memory, of "
        "random length. In the gates with more work one case in its turn has 108 or 103 pieces of work in place of "
        "100. pytest-benchmark compares each session with the one of equal code before it. Shares with exact 95 % "
        "intervals; seconds of the whole command, median and middle half. Measured at "
        + "; ".join(f"commit {commit} on {place} ({count} gates)" for (commit, place), count in origins.items())
        + ".",
        ["what", "figure"],
        table(log),
    )
    gate_figure.draw(log)
    print(
        "median seconds:",
        {
            k: statistics.median(v)
            for k in GATES
            if (v := [g["seconds"] for g in log if g["kind"] == k and "seconds" in g])
        },
    )


if __name__ == "__main__":
    main()
