"""In CI a branch is judged by the rules of its merge base, and what it changes in them is named."""

from __future__ import annotations

import math

import pytest

DUEL = ("--supervm-baseline=git:main", "--supervm-budget=1ms")
KEPT = ("--supervm-baseline=stored:main",)


@pytest.fixture
def in_ci(repository, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CI", "true")
    return repository


def the_row(results, name="test_yearly"):
    (row,) = (
        row for row in results["cases"] if row["metric"] == "throughput" and row["id"].rpartition("::")[2] == name
    )
    return row


def told(results, words):
    return [note for note in results["notes"] if words in note]


def test_a_loosened_threshold_does_not_count_and_is_named(in_ci):
    in_ci.edit("pyproject.toml", 'throughput = { block = "10%"', 'throughput = { block = "50%"')
    results = in_ci.results(*DUEL)
    assert the_row(results)["threshold"] == pytest.approx(-math.log(0.9))
    (note,) = told(results, "[tool.supervm.policy] throughput")
    assert '{ block = "10%", warn = "off" } to { block = "50%", warn = "off" }' in note


def test_on_the_authors_own_machine_the_working_tree_counts(repository):
    repository.edit("pyproject.toml", 'throughput = { block = "10%"', 'throughput = { block = "50%"')
    results = repository.results(*DUEL)
    assert the_row(results)["threshold"] == pytest.approx(-math.log(0.5))
    assert told(results, "this branch changes") == []


def test_a_limit_that_a_branch_takes_away_still_holds(in_ci):
    in_ci.edit("pyproject.toml", 'throughput = { block = "10%"', 'throughput = { limit = "1000000 op/s", block = "10%"')
    in_ci.commit()
    in_ci.git("branch", "--force", "main")
    in_ci.edit("pyproject.toml", 'limit = "1000000 op/s", ', "")
    results = in_ci.results(*DUEL)
    assert (results["gate"], the_row(results)["limit"]) == ("block", 1e6)


def test_a_marker_that_a_branch_loosens_does_not_count(in_ci):
    in_ci.edit(
        "test_sample.py",
        "def test_yearly",
        'import pytest\n@pytest.mark.supervm(throughput={"block": "60%"})\ndef test_yearly',
    )
    results = in_ci.results(*DUEL)
    assert the_row(results)["threshold"] == pytest.approx(-math.log(0.9))
    assert told(results, "test_yearly: this branch changes its policy")


def test_a_level_and_a_metric_of_the_merge_base_count_and_new_metrics_are_known(in_ci):
    in_ci.write(
        "pyproject.toml",
        '[tool.supervm]\nlevel = 0.2\n[tool.supervm.metrics]\nsize = { unit = "B", better = "lower" }\n',
    )
    in_ci.write("test_size.py", "def test_size(measure): measure.record('size', 3, unit='B')")
    results = in_ci.results(*DUEL)
    assert results["family"]["level"] == 0.01
    assert told(results, "[tool.supervm] level from 0.01 to 0.2")
    assert told(results, "metrics") == []


def test_kept_numbers_that_a_branch_changes_do_not_count(in_ci, monkeypatch):
    monkeypatch.delenv("CI")
    in_ci.git("switch", "--quiet", "main")
    in_ci.run("-k", "monthly", "--supervm-save=main")
    in_ci.git("add", "--force", "baselines")
    in_ci.commit("keep a run")
    in_ci.git("switch", "--quiet", "feature")
    in_ci.git("merge", "--quiet", "main")
    in_ci.run("-k", "monthly", "--supervm-save=main")
    monkeypatch.setenv("CI", "true")
    results = in_ci.results("-k", "monthly", *KEPT)
    assert results["baseline"]["runs"] == 1
    assert told(results, "this branch changes the kept runs of 'main'")
    monkeypatch.delenv("CI")
    assert in_ci.results("-k", "monthly", *KEPT)["baseline"]["runs"] == 2


def test_the_target_that_the_ci_system_names_is_the_one(in_ci, monkeypatch):
    in_ci.run("-k", "monthly", "--supervm-save=nightly")
    results = in_ci.results("-k", "monthly", "--supervm-baseline=stored:nightly")
    assert told(results, "no branch is known whose rules could count")
    monkeypatch.setenv("GITHUB_BASE_REF", "main")
    results = in_ci.results("-k", "monthly", "--supervm-baseline=stored:nightly")
    assert told(results, "no branch is known") == []
    assert told(results, "the merge base has no baseline 'nightly'")


def test_rules_of_the_merge_base_that_cannot_be_read_give_way(in_ci):
    in_ci.edit("pyproject.toml", "[tool.supervm]", "[tool.supervm]\nno_such_key = 1")
    in_ci.commit()
    in_ci.git("branch", "--force", "main")
    in_ci.edit("pyproject.toml", "no_such_key = 1", "")
    results = in_ci.results(*DUEL)
    assert told(results, "the rules of the merge base cannot be read, this branch's own count")
