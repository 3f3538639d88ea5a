"""Bisecting with the duel: what is found, what is said, and what is left behind.

Git and its worktrees are real everywhere. Where the duel's answers are what matters, one that reads them from a file
stands in for one that measures; ``docs/how-to/bisect.md`` is run with nothing replaced.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import psutil
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from pytest_supervm import bisect as room
from pytest_supervm.bisect import DECIDED, HALF, NOTHING, SEVERAL, WORSE, Bisection, answer
from pytest_supervm.cli import main
from pytest_supervm.duel.match import Side
from pytest_supervm.model import Family, Gate, Location, Machine, Results, Row, Run, Verdict

from .conftest import Repository

CASE = "test_sample.py::test_yearly"
THRESHOLD = 0.1
BRIEF = ("test_sample.py::test_monthly", "--supervm-baseline=git:main", "--supervm-budget=1ms")
METRICS = """
[tool.supervm.metrics]
depth = { unit = "x", better = "lower" }
[tool.supervm.policy]
depth = { block = "1%" }
"""


def a_row(**fields):
    return Row(id=CASE, location=Location("test_sample.py", 1), metric="throughput", better="higher", **fields)


def a_result(row):
    run = Run(schema=1, id="x", time="x", machine=Machine("x", 1, 1, "x", "x", "x"), cases=())
    return Results(schema=1, gate=Gate.PASS, reason="x", family=Family(1, 0.01), run=run, cases=(row,))


def read_duel(side, arguments, *_question):
    """Stand in for pytest: a commit's file ``cost`` says what it costs, give or take, or why there is no duel."""
    words = (side.top / "cost").read_text().split()
    if words[0] == "broken":
        return 4, f"\nERROR: {' '.join(words[1:])}\n"
    good = next(word.rpartition("git:")[2] for word in arguments if word.startswith("--supervm-baseline="))
    cost = float(words[0])
    before = float(room.run_git(side.top, "show", f"{good}:cost").stdout.split()[0])
    effect, half = cost - before, 0.02 if len(words) == 1 else float(words[1])
    interval = (effect - half, effect + half)
    verdict = Verdict.INCONCLUSIVE
    if interval[0] > 0 and effect >= THRESHOLD:
        verdict = Verdict.REGRESSED
    elif interval[0] > 0.01:
        verdict = Verdict.SLOWER
    elif interval[0] > -THRESHOLD and interval[1] < THRESHOLD:
        verdict = Verdict.EQUIVALENT
    found = a_row(effect=effect, interval=interval, verdict=verdict, reason="as read")
    path = next(word.partition("=")[2] for word in arguments if word.startswith("--supervm-json="))
    Path(path).write_bytes(msgspec.json.encode(a_result(found)))
    return 0, ""


@pytest.fixture
def costs(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """A repository whose duels are read from its commits, on the branch ``feature``."""
    monkeypatch.setattr(room, "_pytest", read_duel)
    monkeypatch.chdir(repository.path)
    return repository


def commits(repository, *costs):
    """Commit each cost; return the ids, the first one included."""
    ids = []
    for number, cost in enumerate(costs):
        repository.write("cost", str(cost))
        repository.write("note", str(number))
        repository.commit(f"step {number}")
        ids.append(repository.git("rev-parse", "HEAD").strip())
    return ids


def supervm(repository, good, bad, *options):
    """Run the command; return its status, its output and what it wrote."""
    path = repository.temporary.parent / "found.json"
    path.unlink(missing_ok=True)
    done = CliRunner().invoke(
        main, ["bisect", CASE, f"--good={good}", f"--bad={bad}", f"--json={path}", *options], catch_exceptions=False
    )
    found = msgspec.json.decode(path.read_bytes(), type=Bisection) if path.exists() else None
    return done.exit_code, done.output, found


@pytest.mark.parametrize("first", [1, 4, 7])
def test_the_first_bad_commit_is_found_wherever_it_is(costs, first):
    ids = commits(costs, *[0.0] * first, *[0.2] * (8 - first))
    status, output, found = supervm(costs, ids[0], ids[-1])
    assert (status, found.first_bad, found.open) == (0, ids[first], ())
    assert f"{ids[first]} is the first bad commit" in output
    assert "Author: x <x@y>" in output
    assert f"    step {first}" in output
    assert costs.traces() == []
    for step in found.steps:
        assert step.answer == ("bad" if ids.index(step.commit) >= first else "good")
        assert f"{step.commit[:10]}  {step.answer}" in output


def test_of_several_that_add_a_bit_it_is_the_one_that_crosses_the_half(costs):
    ids = commits(costs, 0.0, 0.06, 0.12, 0.18, 0.24, 0.30)
    _, _, found = supervm(costs, ids[0], ids[-1])
    assert found.first_bad == ids[3]  # 0.18 is the first beyond 0.15


def test_commits_without_a_result_are_skipped_with_their_reason(costs):
    ids = commits(costs, 0.0, 0.0, "broken not found: test_sample.py", "0.2 0.9", 0.2, 0.2)
    status, output, found = supervm(costs, ids[0], ids[-1])
    assert status == SEVERAL
    assert found.first_bad is None
    assert sorted(found.open) == sorted(ids[2:5])
    reasons = {step.commit: step.reason for step in found.steps if step.answer == "skip"}
    assert reasons[ids[2]] == "pytest ended with status 4: not found: test_sample.py"
    assert reasons[ids[3]].startswith("inconclusive: ")
    for commit in ids[2:4]:
        assert f"({reasons[commit]})" in output
    assert "leave 3; the first bad one is among them" in output


@pytest.mark.parametrize(("cost", "word"), [("0.0", "as read"), ("-0.3", "as read"), ("0.2 0.9", "as read")])
def test_where_the_bad_end_is_not_worse_there_is_nothing_to_bisect(costs, cost, word):
    ids = commits(costs, 0.0, 0.5, cost)
    status, output, found = supervm(costs, ids[0], ids[-1])
    assert (status, found.steps, found.first_bad) == (NOTHING, (), None)
    assert f"nothing to bisect: {ids[2][:10]} against {ids[0][:10]} is not worse beyond doubt: {word}" in output


def test_a_side_branch_that_does_not_descend_from_the_good_end_is_skipped(costs):
    first, good = commits(costs, 0.0, 0.0)
    costs.git("switch", "--quiet", "--create", "side", first)
    costs.write("other", "x")
    costs.commit("beside")
    beside = costs.git("rev-parse", "HEAD").strip()
    costs.git("switch", "--quiet", "feature")
    costs.git("merge", "--quiet", "--no-edit", "side")
    *_, bad = commits(costs, 0.2)
    _, output, found = supervm(costs, good, bad)
    skipped = [step for step in found.steps if step.commit == beside]
    assert all("does not descend" in step.reason for step in skipped)
    assert found.first_bad == bad or (skipped and bad in found.open), output


def test_the_checkout_and_a_bisection_of_the_users_own_stay_as_they_are(costs):
    ids = commits(costs, 0.0, 0.0, 0.2, 0.2, 0.2)
    costs.git("bisect", "start", ids[-1], ids[0])
    costs.write("note", "work in progress")
    costs.git("branch", "kept", ids[1])

    def state():
        return [costs.git(*words) for words in (["bisect", "log"], ["rev-parse", "HEAD"], ["status"], ["for-each-ref"])]

    before = state()
    status, _, found = supervm(costs, ids[0], ids[-1])
    assert (status, found.first_bad) == (0, ids[2])
    assert state() == before


def test_files_that_a_step_left_do_not_meet_the_next(costs, monkeypatch):
    def littering(side, arguments, *question):
        assert not (side.top / "litter").exists()
        assert (side.top / "note").read_text() != "changed"
        (side.top / "litter").mkdir()
        (side.top / "litter" / "x.pyc").write_text("x")
        (side.top / "note").write_text("changed")
        return read_duel(side, arguments, *question)

    monkeypatch.setattr(room, "_pytest", littering)
    ids = commits(costs, 0.0, 0.0, 0.0, 0.2, 0.2)
    assert supervm(costs, ids[0], ids[-1])[2].first_bad == ids[3]


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        ("nowhere", "HEAD", "'nowhere' is no commit here"),
        ("HEAD", "HEAD", "are the same commit"),
        ("HEAD", "HEAD~1", "HEAD is no ancestor of HEAD~1"),
        ("side", "HEAD", "where their ways part"),
        ("--all", "HEAD", "'--all' is no commit here"),
    ],
)
def test_ends_that_make_no_sense_are_refused(costs, good, bad, said):
    commits(costs, 0.0, 0.1)
    costs.git("branch", "side", "HEAD~1")
    costs.git("switch", "--quiet", "side")
    commits(costs, 0.3)
    costs.git("switch", "--quiet", "feature")
    status, output, _ = supervm(costs, good, bad)
    assert status == 1
    assert said in output


def test_outside_a_checkout_and_with_a_budget_that_is_none_the_message_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for options, said in (([], "is not in a git checkout"), (["--budget=soon"], "'soon' is not a duration")):
        done = CliRunner().invoke(main, ["bisect", CASE, "--good=a", "--bad=b", *options])
        assert (done.exit_code, said in done.output) == (1, True)


@given(st.sampled_from(list(Verdict)), st.floats(-1, 1), st.floats(0.001, 1), st.floats(0.001, 1), st.floats(0.02, 1))
def test_an_answer_is_only_given_where_the_interval_rules_out_the_other_end(verdict, effect, below, above, whole):
    known = a_row(verdict=verdict, reason="x", effect=effect, interval=(effect - below, effect + above))
    told, reason = answer(known, whole)
    assert reason
    if told == "bad":
        assert verdict in WORSE
        assert effect >= HALF * whole
    if told == "good":
        assert verdict in DECIDED
        assert effect < HALF * whole
        assert effect + above < whole
    if verdict not in DECIDED:
        assert told == "skip"


def test_a_row_without_an_effect_is_no_answer():
    assert answer(a_row(verdict=Verdict.ERRORED, reason="its test failed"), 0.5) == ("skip", "errored: its test failed")


def test_a_case_that_is_not_there_is_told_in_pytests_words(repository, monkeypatch):
    monkeypatch.chdir(repository.path)
    repository.write("note", "x")
    repository.commit()
    done = CliRunner().invoke(main, ["bisect", "test_sample.py::test_gone", "--good=main", "--bad=HEAD"])
    assert done.exit_code == 1
    assert "HEAD against main: pytest ended with status 4: not found: " in done.output
    assert repository.traces() == []


def test_a_duel_judges_nothing_but_the_metric_that_is_asked_for(repository):
    repository.edit("pyproject.toml", 'latency_p99 = { block = "off" }', 'latency_p99 = { block = "10%" }')
    repository.edit("pyproject.toml", "[tool.supervm.policy]", METRICS)
    repository.edit("test_sample.py", "measure(report, 5)", "measure(report, 5); measure.record('depth', 1, unit='x')")
    repository.commit()
    repository.git("branch", "--force", "main")
    path = repository.temporary.parent / "out.json"
    side = Side("x", repository.path, repository.path, repository.path, [], repository.temporary, dict(os.environ))
    room._pytest(side, [*BRIEF, f"--supervm-json={path}"], "throughput", "7.5%")
    judged = {row["metric"]: row["threshold"] for row in json.loads(path.read_text())["cases"]}
    assert judged.pop("throughput") == pytest.approx(-math.log1p(-0.075))
    assert set(judged.values()) == {None}
    assert {"latency_p99", "depth"} <= set(judged)


def in_the_midst(repository):
    """Start a bisection whose first duel takes long, and return its process once that duel measures."""
    started = repository.temporary.parent / "started"
    repository.write("answers", "300")
    repository.edit("test_sample.py", "report(answers):", f"report(answers):\n    pathlib.Path('{started}').touch()")
    repository.commit()
    command = [sys.executable, "-c", "from pytest_supervm.cli import main; main()", "bisect", CASE]
    process = subprocess.Popen(
        [*command, "--good=main", "--bad=HEAD"], cwd=repository.path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    deadline = time.monotonic() + 60
    while not started.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert repository.traces().count("a worktree") == 2
    return process


def test_an_ended_bisection_leaves_nothing(repository):
    process = in_the_midst(repository)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 1
    assert repository.traces() == []


def test_what_a_killed_bisection_left_is_removed_by_the_next_duel(repository):
    process = in_the_midst(repository)
    (running,) = psutil.Process(process.pid).children()
    process.kill()
    process.communicate(timeout=60)
    assert "a worktree" in repository.traces()
    told = repository.results("--supervm-baseline=git:main", "--supervm-budget=1ms", "-k", "monthly")["notes"]
    assert any(f"(process {process.pid}) was killed" in note for note in told)
    assert not psutil.wait_procs([running], timeout=60)[1], "its pytest ends with it"
    assert repository.traces() == []


def test_a_name_that_means_one_case_will_do_and_one_that_means_several_lists_them(costs, monkeypatch):
    first, second = commits(costs, 0.0, 0.2)
    path = costs.temporary.parent / "found.json"
    options = [f"--good={first}", f"--bad={second}", f"--json={path}"]
    assert CliRunner().invoke(main, ["bisect", "test_sample.py", *options]).exit_code == 0
    assert json.loads(path.read_text())["case"] == CASE

    def two(side, arguments, *question):
        told = read_duel(side, arguments, *question)
        written = next(Path(word.partition("=")[2]) for word in arguments if word.startswith("--supervm-json="))
        found = msgspec.json.decode(written.read_bytes(), type=Results)
        other = msgspec.structs.replace(found.cases[0], id="test_sample.py::test_other")
        written.write_bytes(msgspec.json.encode(msgspec.structs.replace(found, cases=(*found.cases, other))))
        return told

    monkeypatch.setattr(room, "_pytest", two)
    done = CliRunner().invoke(main, ["bisect", "test_sample.py", *options])
    assert done.exit_code == 1
    assert f"names 2 cases, name one of them: {CASE}, test_sample.py::test_other" in done.output
    assert CliRunner().invoke(main, ["bisect", CASE, *options]).exit_code == 0


def test_the_file_reads_back_as_it_was_written(costs):
    ids = commits(costs, 0.0, 0.2)
    *_, found = supervm(costs, ids[0], ids[-1])
    assert json.loads(msgspec.json.encode(found))["whole"]["answer"] == "bad"
    assert found.first_bad == ids[1]
