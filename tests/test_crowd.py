"""The real command among others: several workers, a pytest inside a pytest, somebody who never comes to an end."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

QUICK = ("--supervm-time=20ms", "--supervm-max-time=20ms")

SUITE = """
import os, time
import pytest

LOG = os.open("log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def work(seconds, what="timed"):
    os.write(LOG, f"in {what} {os.getpid()}\\n".encode())
    time.sleep(seconds)
    os.write(LOG, f"out {what} {os.getpid()}\\n".encode())

@pytest.mark.parametrize("size", [3, 1, 2])
def test_sleep(measure, size):
    assert measure(work, size / 1000) is None

@pytest.mark.parametrize("number", range(6))
def test_ordinary(number):
    work(0.05, "test")

def test_last(measure):
    measure(work, 0.001)
    measure.record("failure_rate", 0.25)
"""

HOLDER = """
import sys
from pytest_supervm.measure.turnstile import Turnstile

with Turnstile(patience=60).visit() as visit:
    with visit.alone("test_slow.py::test_it") if sys.argv[1] == "measures" else visit.alone("nothing") as _:
        if sys.argv[1] == "measures":
            print("inside", flush=True)
            sys.stdin.read()
    print("inside", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def own_room(project, monkeypatch):
    """Nobody but these tests is at this turnstile."""
    folder = project.path / "run"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    monkeypatch.delenv("SUPERVM_TURNSTILE", raising=False)


@contextlib.contextmanager
def another(does: str) -> Iterator[subprocess.Popen[str]]:
    """Have another process in the room, which ``tests`` or ``measures``."""
    command = [sys.executable, "-c", HOLDER, does]
    with subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "inside\n"
        try:
            yield process
        finally:
            process.kill()


def shape(results):
    """Return what does not depend on speed: the cases, their order, and which metrics were measured."""
    return [
        (case["id"], case["parameters"], [(s["metric"]["name"], "launches" in s) for s in case["series"]])
        for case in results["run"]["cases"]
    ]


class TestSeveralWorkers:
    def test_they_measure_what_one_process_measures(self, project):
        project.write("test_a.py", SUITE)
        project.write("test_b.py", SUITE)
        expected = shape(project.results(*QUICK))
        assert len(expected) == 8
        assert all(("throughput", True) in metrics for _, _, metrics in expected)
        assert shape(project.results(*QUICK, "-n", "4")) == expected

    def test_nothing_runs_beside_a_measured_call(self, project):
        project.write("test_a.py", SUITE)
        project.write("test_b.py", SUITE)
        project.results(*QUICK, "-n", "4")
        inside = {}
        for line in (project.path / "log").read_text().splitlines():
            event, what, who = line.split()
            if event == "out":
                del inside[who]
            else:
                inside[who] = what
                assert len(inside) == 1 or "timed" not in inside.values(), inside

    def test_a_time_that_a_test_takes_in_the_crowd_is_not_kept(self, project):
        project.write("test_a.py", 'def test_a(measure): measure.record("recovery", 5, unit="ms")')
        (row,) = project.results(*QUICK, "-n", "2")["cases"]
        assert (row["verdict"], "2 workers" in row["reason"]) == ("unmeasured", True)
        (row,) = project.results(*QUICK)["cases"]
        assert row["candidate"] == 0.005

    def test_a_worker_that_crashes_does_not_stop_the_others(self, project):
        project.write("test_a.py", SUITE + "\ndef test_crash(measure): measure(os._exit, 1)")
        results = project.results(*QUICK, "-n", "2", "--max-worker-restart=1")
        assert len(results["run"]["cases"]) == 4


class TestNesting:
    INNER = "def test_inner(measure): assert measure(sum, [1, 2]) == 3"

    @pytest.mark.parametrize(("way", "workers"), [("inprocess", "0"), ("subprocess", "2")])
    def test_a_pytest_inside_a_pytest_measures_and_comes_to_an_end(self, project, way, workers):
        project.write("conftest.py", 'pytest_plugins = ["pytester"]')
        project.write(
            "test_outer.py",
            f"""
import pytest

@pytest.mark.parametrize("measured", [False, True])
def test_outer(pytester, measure, measured):
    pytester.makepyfile(test_inner={self.INNER!r})
    inner = lambda *options: pytester.runpytest_{way}("-p", "no:cacheprovider", *options)
    options = {QUICK!r}
    result = measure(inner, *options) if measured else inner(*options)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*throughput*"])
""",
        )
        result = project.run(*QUICK, "-n", workers)
        result.assert_outcomes(passed=2)


class TestSomebodyInTheRoom:
    @pytest.fixture(autouse=True)
    def impatient(self, project):
        project.write("pyproject.toml", '[tool.supervm]\nwait = "100ms"\n')

    def test_a_test_that_does_not_leave_makes_a_case_unmeasured(self, project):
        project.write("test_a.py", "def test_a(measure): assert measure(sum, [1, 2]) == 3")
        with another("tests") as process:
            rows = project.results(*QUICK)["cases"]
        assert {row["verdict"] for row in rows} == {"unmeasured"}
        assert all(f"waited 0.1 s for process {process.pid} (" in row["reason"] for row in rows)

    def test_a_measurement_that_does_not_end_fails_tests_that_wait_for_it(self, project):
        project.write("test_a.py", "def test_a(): pass")
        with another("measures") as process:
            result = project.run(*QUICK)
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines([f"*must not run beside a measurement*{process.pid}*test_slow.py::test_it*wait*"])

    def test_a_run_that_does_not_measure_takes_no_part(self, project):
        project.write("test_a.py", "import os\ndef test_a(measure): assert 'SUPERVM_TURNSTILE' not in os.environ")
        with another("measures"):
            project.run().assert_outcomes(passed=1)


class TestNoFolder:
    @pytest.fixture(autouse=True)
    def unusable(self, project):
        project.write("run/pytest-supervm", "a file where the folder should be")
        project.write("test_a.py", "def test_a(measure): assert measure(sum, [1, 2]) == 3")

    def test_one_process_measures_and_says_that_it_is_not_kept_apart(self, project):
        result = project.run(*QUICK)
        result.stdout.fnmatch_lines(["*nothing keeps other measurements away*pytest-supervm*", "*throughput*op/s*"])
        result.assert_outcomes(passed=1)

    def test_several_workers_say_why_they_do_not_measure(self, project):
        reasons = {row["reason"] for row in project.results(*QUICK, "-n", "2")["cases"]}
        assert any("use -n 0" in reason and "pytest-supervm" in reason for reason in reasons)
