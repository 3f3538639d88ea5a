"""pytest-benchmark's tests in a duel: measured in turns, and otherwise what they were."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_supervm.duel.match import FEWEST_TURNS, TURNS, plan
from pytest_supervm.duel.wire import Ready

from .test_duel import BRIEF, DUEL, verdicts

SUITE = """
import pathlib
import time

import pytest

ANSWERS = int(pathlib.Path(__file__).with_name("answers").read_text())


def report(answers=ANSWERS):
    for _ in range(answers):
        time.sleep(0.0005)
    return answers


def test_plain(benchmark):
    assert benchmark(report, 1) == 1
    assert benchmark.stats["mean"] > 0


@pytest.mark.benchmark(group="reports")
class TestReports:
    @pytest.mark.parametrize("size", [1, 2])
    def test_parametrised(self, benchmark, size):
        benchmark.extra_info["size"] = size

        @benchmark
        def result():
            return report(size)

        assert result == size


def test_pedantic(benchmark):
    calls, made, undone = [], [], []

    def setup():
        made.append(len(made))
        return (made[-1],), {}

    assert benchmark.pedantic(
        lambda number: calls.append(number) or report(1),
        setup=setup,
        teardown=undone.append,
        rounds=50,
        warmup_rounds=2,
    ) == 1
    assert calls == made == undone == list(range(52))
    assert benchmark.stats.stats.rounds == 50


def test_iterations(benchmark):
    calls = []
    benchmark.pedantic(lambda: calls.append(report(1)), rounds=3, iterations=7)
    assert len(calls) == 3 * 7 + 1


def test_once(benchmark):
    calls = []
    benchmark.pedantic(lambda: calls.append(report()))
    assert len(calls) == 1


@pytest.mark.skip
def test_skipped_on_both_sides(benchmark):
    benchmark(report, 1)


def test_fixture_asked_for_late(request):
    request.getfixturevalue("benchmark")(report, 1)


def test_ordinary():
    pass
"""

CASES = [
    "test_plain",
    "test_parametrised[1]",
    "test_parametrised[2]",
    "test_pedantic",
    "test_iterations",
    "test_once",
]


@pytest.fixture
def suite(repository):
    """A repository with a suite for pytest-benchmark."""
    repository.write("test_sample.py", SUITE)
    repository.commit()
    repository.git("branch", "--force", "main")
    return repository


RANDOMLY = """
import os

def pytest_addoption(parser):
    parser.addoption("--randomly-seed", default="default")

def pytest_runtest_call(item):
    if "PYTHONHASHSEED" in os.environ:
        assert item.config.option.randomly_seed == int(os.environ["PYTHONHASHSEED"])
"""
"""What pytest-randomly would seed the tests of a child with."""


def test_every_kind_takes_part_with_its_exact_number_of_calls(suite):
    suite.write("conftest.py", RANDOMLY)
    result = suite.run(*BRIEF, "--supervm-json=results.json", "--benchmark-max-time=0.01")
    result.assert_outcomes(passed=8, skipped=1)
    result.stdout.fnmatch_lines(["supervm: *`benchmark` duel too*"])
    results = json.loads((suite.path / "results.json").read_text())
    found = verdicts(results)
    assert {name: row["verdict"] for name, row in found.items()} == {
        **dict.fromkeys(CASES, "inconclusive"),
        "test_fixture_asked_for_late": "unmeasured",
    }
    assert all(found[name]["baseline"] > 0 for name in CASES)
    blocks = {case["id"].rpartition("::")[2]: case["conditions"].get("blocks") for case in results["run"]["cases"]}
    assert blocks["test_pedantic"] == "10 of 5 calls each, timed one by one, in turns with the other side"
    assert blocks["test_iterations"] == "3 of 7 calls each, in turns with the other side"
    assert blocks["test_once"] == "1 of 1 call each, timed one by one, in turns with the other side"


def test_more_work_blocks_even_in_a_single_round(suite):
    suite.write("answers", "60")
    found = verdicts(suite.results(DUEL, "-k", "once"))
    assert (found["test_once"]["verdict"], found["test_once"]["action"]) == ("regressed", "block")


def test_a_suite_that_changes_from_plain_to_pedantic_is_compared(suite):
    suite.edit("test_sample.py", "benchmark(report, 1)", "benchmark.pedantic(report, (1,), rounds=8)")
    row = verdicts(suite.results(*BRIEF, "-k", "plain"))["test_plain"]
    assert row["baseline"] == pytest.approx(row["candidate"], rel=0.5)
    assert "the benchmark itself changed" in row["reason"]


def test_pytest_benchmark_saves_and_compares_nothing_on_either_side(suite):
    files = ("--benchmark-json=b.json", "--benchmark-autosave")
    comparison = ("--benchmark-compare", "--benchmark-compare-fail=mean:1%")
    suite.run(*BRIEF, *files, *comparison, "-k", "once", "-p", "no:warnings").assert_outcomes(passed=1, deselected=8)
    assert not list(suite.path.rglob("b.json"))
    assert not list(suite.path.rglob(".benchmarks/*/*.json"))


def test_disabled_benchmarks_are_ordinary_tests(suite):
    suite.edit("test_sample.py", "    assert benchmark.stats[", "    assert not benchmark.stats or benchmark.stats[")
    suite.edit("test_sample.py", "    assert benchmark.stats.stats.rounds == 50", "    pass")
    result = suite.run(*BRIEF, "--benchmark-disable", "--supervm-json=results.json", "-k", "plain or once or ordinary")
    result.assert_outcomes(passed=3, deselected=6)
    result.stdout.fnmatch_lines(["*--benchmark-disable is set*"])
    assert json.loads((suite.path / "results.json").read_text())["run"]["cases"] == []


sides = st.builds(
    Ready, call=st.floats(0, 1e9), threads=st.just(1.0), rounds=st.one_of(st.just(0), st.integers(1, 2000))
)


@given(sides, sides, st.floats(1e4, 1e8))
def test_a_plan_never_asks_for_more_rounds_than_there_are(one, other, block):
    turns, calls = plan([one, other], block)
    assert 1 <= turns <= TURNS
    for side, each in zip((one, other), calls, strict=True):
        assert each >= 1
        if side.rounds:
            assert turns * each <= side.rounds
    if one.rounds == other.rounds > 0:
        assert one.rounds - turns * calls[0] < calls[0], "what is left over would have filled a turn"
    if not one.rounds and not other.rounds:
        assert calls[0] == calls[1]
        assert turns >= FEWEST_TURNS
        assert turns % 2 == 0
