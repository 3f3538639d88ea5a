"""The gate against itself, through the real command: what is played, said and kept."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import tempfile
from contextlib import nullcontext
from pathlib import Path

import msgspec
import pytest

from pytest_supervm.duel.match import TURNS, Match, Side
from pytest_supervm.duel.selfcheck import FEWEST_GATES, PREFIX, Rehearsal, scratch
from pytest_supervm.judge import live
from pytest_supervm.judge.live import LOOKS
from pytest_supervm.judge.policy import Policy
from pytest_supervm.judge.selfcheck import Outcome
from pytest_supervm.model import STANDARD_METRICS, Run, Verdict
from pytest_supervm.settings import Settings

CASES = """
import time

def test_waits(measure):
    measure(time.sleep, 0.005)

def test_ordinary():
    pass
"""

ONE_LOOK = """
import sys

if any(argument.startswith("--supervm-self-check") for argument in sys.argv):  # not in the children
    from pytest_supervm.judge import live

    live.LOOKS = (2,)
"""
"""Gates of two launch pairs: enough to see all of a self-check, and short."""

SETTINGS = """
[tool.supervm]
time = "20ms"
level = 0.4
[tool.supervm.policy]
latency_p99 = { block = "off" }
"""


@pytest.fixture
def waiting(project, monkeypatch, tmp_path):
    """A project without git, whose work is waiting."""
    runtime = tmp_path / "r"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    project.write("test_sample.py", CASES)
    project.write("conftest.py", ONE_LOOK)
    project.write("pyproject.toml", SETTINGS)
    return project


def test_a_suite_is_checked_shown_and_kept(waiting):
    result = waiting.run(
        *("--supervm-self-check=1s", "--supervm-json=r.json", "--supervm-report=r.html", "--supervm-save=main"),
        *("-n", "2"),
    )
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        [
            f"self-check: {FEWEST_GATES} gates of this suite against itself *",
            "  metric *false alarms *",
            "test_sample.py::test_waits",
            f"  throughput  ? of {FEWEST_GATES}, *",
        ]
    )
    assert f"of {FEWEST_GATES} gates of unchanged code raised an alarm" in " ".join(result.stdout.str().split())
    run = json.loads((waiting.path / "r.json").read_text())["run"]
    check = run["self_check"]
    (pair,) = check["cases"]
    assert (pair["id"], pair["metric"]) == ("test_sample.py::test_waits", "throughput")
    assert (check["gates"], check["launches"], pair["launches"]) == (FEWEST_GATES, 2, 2 * FEWEST_GATES)
    assert 0 <= pair["spread"] < 1
    assert (pair["caught"] is None) == (pair["remark"] is not None)
    (kept,) = (waiting.path / "baselines" / "main.jsonl").read_text().splitlines()
    assert msgspec.json.decode(kept, type=Run) == msgspec.convert(run, Run)
    assert "What this gate can tell" in (waiting.path / "r.html").read_text()
    later = waiting.run("--supervm-baseline=main", "-k", "waits")
    later.stdout.fnmatch_lines(["note: self-check of *"])


def test_a_check_of_nothing_fails_and_says_so(waiting):
    result = waiting.run("--supervm-self-check", "-k", "ordinary")
    result.stdout.fnmatch_lines(["the self-check did not take place: nothing was measured"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--supervm-self-check", "test_sample.py"], "*'test_sample.py' is not a duration*=5m test_sample.py*"),
        (["--supervm-self-check=soon"], "*--supervm-self-check: 'soon' is not a duration*"),
        (["--supervm-self-check", "--supervm-baseline=git:main"], "*against itself, and *git:main against something*"),
    ],
)
def test_what_cannot_be_checked_is_a_usage_error(waiting, options, said):
    result = waiting.run(*options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([said])


def a_side(project):
    root = project.path
    args = [f"--rootdir={root}", "-p", "no:cacheprovider"]
    return Side("candidate", root, root, root, args, root / "scratch" / "new", dict(os.environ))


def test_extra_calls_are_made_and_not_booked(waiting):
    side = a_side(waiting)
    other = dataclasses.replace(side, name="baseline", scratch=side.scratch.with_name("old"))
    match = Match(
        side,
        other,
        policies={"test_sample.py::test_waits": {"throughput": Policy(warn=0.05)}},
        level=0.01,
        least=0.02 * LOOKS[0] * TURNS,
        budget=0.001,
        metrics=STANDARD_METRICS,
        replay=lambda _: None,
        progress=lambda *_: None,
    )
    known = match.scores["test_sample.py::test_waits"]
    known.extra = 0.6
    match.play()
    (share,) = known.added
    assert 0.6 <= share <= 1, "a block of about four calls of 5 ms has whole calls added to it"
    (effect,) = live.effects(known.pairs, by_cpu=False)["throughput"]
    assert effect == pytest.approx(math.log1p(share), abs=0.25)
    before, after = known.timed.values()
    assert len(before) == len(after)


class Paper(Rehearsal):
    """A rehearsal whose gates take ten seconds each on paper, and end when they are told to."""

    end = math.inf
    asked = ()

    def _spent(self):
        return 10.0 * len(self.gates)

    def _gate(self, extra):
        if len(self.gates) == self.end:
            raise KeyboardInterrupt
        self.asked = (*self.asked, dict(extra))
        key = ("test_waits", "throughput")
        return Outcome(10, 60, 6, 1, {key: Verdict.EQUIVALENT}, {key: [0.001, -0.001, 0.0, 0.002, 0.0, 0.0]}, {}, extra)


def on_paper(planned):
    return Paper(
        None,
        policies={"test_waits": {"throughput": Policy(warn=0.05)}},
        settings=Settings(self_check=planned),
        metrics={},
        alone=nullcontext,
        progress=lambda *_: None,
    )


@pytest.mark.parametrize(("planned", "gates"), [(1.0, FEWEST_GATES), (60.0, 5), (65.0, 5), (70.0, 6)])
def test_the_time_holds_as_many_gates_as_leave_room_for_the_one_with_extra_work(planned, gates):
    check = on_paper(planned)
    check.play()
    *unchanged, extra = check.asked
    assert unchanged == [{}] * gates
    found = check.found()
    assert (found.gates, found.seconds) == (gates, 10 * (gates + 1))
    assert extra == {"test_waits": pytest.approx(math.expm1(found.cases[0].smallest))}
    assert found.cases[0].caught is False, "it was added on paper, and nothing told it"


def test_what_was_played_before_an_interruption_is_kept():
    check = on_paper(60.0)
    assert check.found() is None
    check.end = 2
    with pytest.raises(KeyboardInterrupt):
        check.play()
    assert check.found().gates == 2
    assert "not played to its end" in check.found().cases[0].remark


def test_what_a_killed_check_left_is_removed_and_named_by_the_next(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead = subprocess.Popen(["true"])
    dead.wait()
    killed, alive = (tmp_path / f"{PREFIX}{pid}-x" for pid in (dead.pid, os.getpid()))
    killed.mkdir()
    alive.mkdir()
    with scratch() as (folder, left):
        assert folder.is_dir()
        assert left == [f"an earlier self-check (process {dead.pid}) was killed and left {killed}: it was removed"]
    assert [Path(entry) for entry in tmp_path.iterdir()] == [alive]
