"""The live duel, through the real command: what is compared, what is said, and what is left behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import psutil
import pytest

from pytest_supervm.judge.live import LOOKS

DUEL = "--supervm-baseline=git:main"
BRIEF = (DUEL, "--supervm-budget=1ms")
"""One launch, which decides nothing: for what does not hang on figures."""


def verdicts(results, metric="throughput"):
    return {row["id"].rpartition("::")[2]: row for row in results["cases"] if row["metric"] in (metric, None)}


def test_equal_code_passes_and_leaves_nothing(repository):
    result = repository.run(DUEL)
    result.stdout.fnmatch_lines(["*supervm gate: PASS*against git:main (merge base *, * launch pairs)*"])
    result.assert_outcomes(passed=3)
    assert result.ret == pytest.ExitCode.OK
    assert repository.traces() == []


def test_more_work_than_at_the_merge_base_blocks_whatever_the_tip_does(repository):
    repository.git("switch", "--quiet", "main")
    repository.write("answers", "40")
    repository.commit("main does more, on its own account")
    repository.git("switch", "--quiet", "feature")
    repository.write("answers", "24")
    results = repository.results(DUEL)
    slow = verdicts(results)["test_yearly"]
    assert (slow["verdict"], slow["action"]) == ("regressed", "block")
    assert 0 < slow["interval"][0] < slow["effect"] < slow["interval"][1]
    assert slow["reason"].endswith("by wall time"), "waiting is no work for the CPU clock to see"
    assert verdicts(results)["test_monthly"]["verdict"] == "equivalent"
    assert slow["launches"] in LOOKS
    assert results["changes"] is None, "without kept runs there is no history to search"
    (record,) = (case for case in results["run"]["cases"] if case["id"] == slow["id"])
    assert len(record["series"][0]["launches"]) == slow["launches"]


def test_one_sided_failing_and_changed_benchmarks_are_told(repository):
    repository.edit("test_sample.py", "def test_monthly(measure):", "def test_weekly(measure):")
    repository.edit("test_sample.py", "measure(report, ANSWERS)", "measure(report, ANSWERS)  # as ever")
    repository.write("test_more.py", "def test_bad(measure):\n    measure(sum, [1])\n    assert 0\n")
    results = repository.results(*BRIEF)
    found = verdicts(results)
    assert {name: row["verdict"] for name, row in found.items()} == {
        "test_yearly": "inconclusive",
        "test_weekly": "new",
        "test_monthly": "missing",
        "test_bad": "errored",
    }
    assert "the benchmark itself changed" in found["test_yearly"]["reason"]
    assert any("test_yearly: the benchmark itself changed" in note for note in results["notes"])
    assert "no longer exists" in found["test_monthly"]["reason"]


def test_a_benchmark_that_fails_at_the_merge_base_is_errored(repository):
    repository.edit("test_sample.py", "measure(report, 5)", "measure(report, 5); assert 0, 'no'")
    repository.commit()
    repository.git("branch", "--force", "main")
    repository.edit("test_sample.py", "; assert 0, 'no'", "")
    result = repository.run(*BRIEF)
    result.stdout.fnmatch_lines(["*errored*", "*its test fails at the merge base: AssertionError: no*"])
    result.assert_outcomes(passed=3)


def test_a_benchmark_that_kills_its_process_fails_and_the_others_are_measured(repository):
    repository.write("test_a.py", "import os\ndef test_dies(measure): os._exit(3)")
    result = repository.run(DUEL, "--supervm-budget=8s")
    result.stdout.fnmatch_lines(["*test_a.py::test_dies*", "*errored*", "*the process of the candidate side died*"])
    result.assert_outcomes(passed=3, failed=1)


def test_what_is_left_out_is_not_missing(repository):
    repository.edit("test_sample.py", "def test_monthly", "def test_weekly")
    found = verdicts(repository.results(*BRIEF, "test_sample.py::test_yearly"))
    assert {name: row["verdict"] for name, row in found.items()} == {"test_yearly": "inconclusive"}


def test_a_copy_that_shadows_the_tree_is_a_usage_error(repository):
    repository.write("lib/shop.py", "VALUE = 1")
    repository.write("conftest.py", f"import sys; sys.path.insert(0, {str(repository.path / 'lib')!r})")
    repository.edit("test_sample.py", "import time", "import time, shop")
    repository.commit()
    repository.git("branch", "--force", "main")
    result = repository.run(DUEL)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*the baseline side must take*", f"*shop was loaded from {repository.path}*"])
    assert repository.traces() == []


def test_a_missing_built_file_is_a_usage_error(repository):
    repository.write("shop/__init__.py", "")
    repository.edit("test_sample.py", "import time", "import time, shop.built")
    repository.commit()
    repository.git("branch", "--force", "main")
    repository.write("shop/built.py", "")  # as a compiler would, and git would not know
    result = repository.run(DUEL)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*the baseline side must take*", "*shop.built cannot be imported*"])


@pytest.mark.parametrize(
    ("option", "said"),
    [("git:nowhere", "*'nowhere' is no commit here*main*"), ("git:", "*name a git ref*"), ("git:--all", "*no commit*")],
)
def test_an_unusable_ref_is_a_usage_error(repository, option, said):
    result = repository.run(f"--supervm-baseline={option}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([said])


def test_outside_a_checkout_there_is_nothing_to_compare_with(project):
    result = project.run(DUEL)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*is not in a git checkout*"])


def test_a_shallow_clone_names_the_way_out(repository, tmp_path):
    repository.write("note", "more history than the clone will have")
    repository.commit()
    shallow = tmp_path / "shallow"
    repository.git("clone", "--quiet", "--depth=1", f"file://{repository.path}", str(shallow))
    result = repository.run(f"--rootdir={shallow}", str(shallow), "--supervm-baseline=git:HEAD~1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*shallow*fetch-depth: 0*"])


def test_ordinary_tests_run_once_and_a_stop_stops_the_duel(repository):
    repository.write("test_a.py", "def test_fails(): assert 0")
    results = repository.results(DUEL, "-x")
    assert {name: row["verdict"] for name, row in verdicts(results).items()} == {
        "test_yearly": "errored",
        "test_monthly": "errored",
    }


def test_workers_leave_the_measuring_to_their_controller(repository):
    result = repository.run(*BRIEF, "-n", "2")
    result.stdout.fnmatch_lines(["*supervm gate: INCONCLUSIVE*1 launch pair)*"])
    result.assert_outcomes(passed=3)


def hear_ctrl_c():
    """Undo what a shell does for commands in the background: they ignore Ctrl-C, and so do their children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def in_the_midst(repository):
    """Start a duel that would take long, and return its process once its children measure."""
    repository.write("answers", "3000")
    repository.edit("test_sample.py", "report(answers):", "report(answers):\n    pathlib.Path('started').touch()")
    command = [sys.executable, "-m", "pytest", "-q", DUEL]
    process = subprocess.Popen(
        command, cwd=repository.path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=hear_ctrl_c
    )
    deadline = time.monotonic() + 30
    while not (repository.path / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert repository.traces()
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_ended_gate_leaves_nothing(repository, number):
    process = in_the_midst(repository)
    process.send_signal(number)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == pytest.ExitCode.INTERRUPTED
    assert b"INCONCLUSIVE" in output
    assert repository.traces() == []


def test_what_a_killed_gate_left_is_removed_and_named_by_the_next(repository):
    process = in_the_midst(repository)
    children = psutil.Process(process.pid).children()
    process.kill()
    process.communicate()
    assert len(children) == 2
    assert gone(children)
    assert "a worktree" in repository.traces()
    repository.git("checkout", "--quiet", ".")
    results = repository.results(*BRIEF, "-k", "monthly")
    assert any(f"(process {process.pid}) was killed" in note for note in results["notes"])
    assert repository.traces() == []


def gone(children: list[psutil.Process]) -> bool:
    """Tell whether the processes have ended, within ten seconds."""
    return not psutil.wait_procs(children, timeout=10)[1]
