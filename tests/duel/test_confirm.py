"""Kept runs that leave doubt: a duel decides, and says where the environment was to blame."""

from __future__ import annotations

import pytest

NAME = "--supervm-baseline=main"
QUICK = ("-k", "yearly", "--supervm-time=100ms")


def keep(repository, runs=1):
    for _ in range(runs):
        repository.run(*QUICK, "--supervm-save=main")


def the_row(results):
    (row,) = (row for row in results["cases"] if row["metric"] == "throughput")
    return row


@pytest.fixture
def kept(repository):
    """One kept run, which cannot tell anything, of the commit that the branch begins with."""
    keep(repository)
    repository.git("add", "--force", "baselines")
    repository.commit("keep a run")
    return repository


def test_what_one_kept_run_cannot_tell_is_decided_live_at_its_commit(kept):
    begin = kept.git("rev-parse", "main").strip()
    results = kept.results(NAME, *QUICK)
    row = the_row(results)
    assert row["verdict"] == "equivalent"
    assert row["reason"].startswith(f"live at {begin[:7]}: no change beyond")
    assert (results["gate"], results["baseline"]["name"], results["baseline"]["runs"]) == ("pass", "main", 1)
    assert (results["baseline"]["commit"], results["baseline"]["launches"]) == (begin, row["launches"])
    assert kept.traces() == []


def test_more_work_blocks_live_and_tests_are_shown_once(kept):
    kept.write("answers", "26")
    result = kept.run(NAME, *QUICK)
    result.stdout.fnmatch_lines(
        [
            "supervm: measuring*judged against 'main' (1 kept run); the branch of that name is git:main",
            "*regressed BLOCKS*",
            "*live at *worse, and by more than the threshold*",
            "supervm gate: BLOCK*against main (1 kept run of this machine; live at *launch pairs)*",
        ]
    )
    result.assert_outcomes(passed=1, deselected=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_a_slower_environment_is_not_blamed_on_the_code(repository):
    repository.write("conftest.py", "import os, time; SLOW = float(os.environ.get('SLOW', 0))")
    repository.edit(
        "test_sample.py", "    for _ in range(answers):", "    time.sleep(SLOW)\n    for _ in range(answers):"
    )
    repository.edit("test_sample.py", "import time", "import time\nfrom conftest import SLOW")
    repository.commit("work that hangs on the environment")
    keep(repository, runs=6)
    repository.pytester._monkeypatch.setenv("SLOW", "0.02")
    row = the_row(repository.results(NAME, *QUICK))
    assert row["verdict"] == "equivalent"
    assert "environment, not code: kept runs say regressed" in row["reason"]
    alone = the_row(repository.results("--supervm-baseline=stored:main", *QUICK))
    assert (alone["verdict"], alone["action"]) == ("regressed", "block")


def test_where_the_commit_is_not_at_hand_the_kept_verdict_stands_and_says_why(kept):
    history = kept.path / "baselines" / "main.jsonl"
    commit = kept.git("rev-parse", "main").strip()
    history.write_text(history.read_text().replace(commit, "0123456" + commit[7:]))
    results = kept.results(NAME, *QUICK)
    assert (results["gate"], the_row(results)["verdict"]) == ("inconclusive", "inconclusive")
    assert any("not confirmed live: the commit 0123456 is not in this clone" in note for note in results["notes"])


def test_without_a_clean_commit_there_is_nothing_to_confirm_by(repository):
    repository.write("answers", "21")
    keep(repository)
    results = repository.results(NAME, *QUICK)
    assert any("not confirmed live: no kept run is of a clean commit" in note for note in results["notes"])


def test_a_duel_that_cannot_be_played_leaves_the_kept_verdict(repository):
    repository.write("lib/shop.py", "VALUE = 1")
    repository.write("conftest.py", f"import sys; sys.path.insert(0, {str(repository.path / 'lib')!r}); import shop")
    repository.commit("a copy that shadows the tree")
    keep(repository)
    results = repository.results(NAME, *QUICK)
    assert (results["gate"], the_row(results)["verdict"]) == ("inconclusive", "inconclusive")
    assert any("not confirmed live: the baseline side must take" in note for note in results["notes"])
    assert repository.traces() == []


def test_workers_measure_and_their_controller_confirms(kept):
    results = kept.results(NAME, *QUICK, "-n", "2")
    assert the_row(results)["verdict"] == "equivalent"
