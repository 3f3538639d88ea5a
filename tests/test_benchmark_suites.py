"""A suite written for pytest-benchmark is measured as it stands, and is otherwise what it was."""

from __future__ import annotations

import json
import re

import pytest

QUICK = ("--supervm-time=20ms", "--supervm-max-time=20ms")

SUITE = """
import pytest

def work(*numbers, unit=1):
    return sum(range(1000)) + sum(numbers) + unit

def test_plain(benchmark):
    assert benchmark(work, 1, 2, unit=3) == 499506
    assert benchmark.stats["mean"] > 0
    assert benchmark.stats.stats.rounds > 1

@pytest.mark.benchmark(group="sums", max_time=0.01)
@pytest.mark.parametrize("size", [10, 20])
def test_parametrised(benchmark, size):
    benchmark.extra_info["size"] = size

    @benchmark
    def result():
        return work(size)

    assert result == 499501 + size

def test_pedantic(benchmark):
    calls, made, undone = [], [], []

    def setup():
        made.append(len(made))
        return (made[-1],), {"key": "value"}

    def target(number, key):
        assert key == "value"
        calls.append(number)
        return work(number)

    undo = lambda *args, **_: undone.append(args)
    result = benchmark.pedantic(target, setup=setup, teardown=undo, rounds=50, warmup_rounds=2)
    assert calls == made == list(range(52))
    assert undone == [(number,) for number in calls]
    assert result == 499501 + 51
    assert benchmark.stats.stats.rounds == 50

def test_iterations(benchmark):
    calls = []
    assert benchmark.pedantic(lambda: calls.append(work()) or len(calls), rounds=5, iterations=7, warmup_rounds=1) == 43
    assert len(calls) == 6 * 7 + 1

def test_once(benchmark):
    calls = []
    benchmark.pedantic(calls.append, args=(1,))
    assert calls == [1]

def test_ordinary():
    assert work() == 499501
"""

FAILING = """
import pytest

def test_error(benchmark):
    with pytest.raises(ZeroDivisionError):
        benchmark(lambda: 1 / 0)

def test_error_that_fails(benchmark):
    benchmark(lambda: 1 / 0)

def test_twice(benchmark):
    benchmark(sum, [1])
    with pytest.raises(Exception, match="only be used once"):
        benchmark(sum, [1])

def test_pedantic_mistakes(benchmark):
    with pytest.raises(ValueError, match="iterations"):
        benchmark.pedantic(sum, ([1],), iterations=0)

def test_setup_with_iterations(benchmark):
    with pytest.raises(ValueError, match="setup"):
        benchmark.pedantic(sum, ([1],), iterations=2, setup=lambda: None)

def test_arguments_twice(benchmark):
    with pytest.raises(TypeError, match="setup"):
        benchmark.pedantic(sum, ([1],), setup=lambda: (([1],), {}))
"""

CASES = [
    "test_plain",
    "test_parametrised[10]",
    "test_parametrised[20]",
    "test_pedantic",
    "test_iterations",
    "test_once",
]


@pytest.fixture
def suite(project):
    """A project with a suite for pytest-benchmark."""
    project.write("test_a.py", SUITE)
    return project


def names(results):
    return [case["id"].removeprefix("test_a.py::") for case in results["run"]["cases"]]


def test_every_test_becomes_a_case_and_passes(suite):
    result = suite.run(*QUICK, "--supervm-json=results.json")
    result.assert_outcomes(passed=7)
    result.stdout.fnmatch_lines(["supervm: *`benchmark`*in place of --benchmark-max-time*"])
    results = json.loads((suite.path / "results.json").read_text())
    assert names(results) == CASES
    plain, ten, *_ = results["run"]["cases"]
    assert ten["parameters"] == {"size": "10"}
    assert plain["series"][0]["metric"] == {"name": "throughput", "unit": "op/s", "better": "higher"}
    assert len(plain["series"][0]["launches"][0]) >= 3


def test_pedantic_rounds_become_blocks_and_latencies(suite):
    cases = dict(zip(CASES, suite.results(*QUICK)["run"]["cases"], strict=True))
    series = {s["metric"]["name"]: s for s in cases["test_pedantic"]["series"]}
    assert len(series["throughput"]["launches"][0]) == 25
    assert series["latency_p50"]["samples"] == 50
    assert "launches" in series["peak_memory"]
    series = {s["metric"]["name"]: s for s in cases["test_iterations"]["series"]}
    assert len(series["throughput"]["launches"][0]) == 5
    assert "rounds of 7 calls" in series["latency_p50"]["unmeasured"]
    series = {s["metric"]["name"]: s for s in cases["test_once"]["series"]}
    assert "allow a round to warm up" in series["peak_memory"]["unmeasured"]


def test_a_baseline_is_kept_and_judged(suite):
    suite.run(*QUICK, "--supervm-save=main").assert_outcomes(passed=7)
    result = suite.run(*QUICK, "--supervm-baseline=main", "-k", "plain")
    result.stdout.fnmatch_lines(["*not selected*"])
    rows = suite.results(*QUICK, "--supervm-baseline=main", "-k", "plain")["cases"]
    assert {row["verdict"] for row in rows if row["id"] != "test_a.py::test_plain"} == {"not selected"}


def without(what):
    """The suite without its assertions on what pytest-benchmark leaves empty where it is disabled."""
    return "".join(line for line in SUITE.splitlines(keepends=True) if f"assert {what}" not in line)


def test_workers_measure_it_too(suite):
    suite.write("test_a.py", without("benchmark.stats"))
    assert names(suite.results(*QUICK, "-n", "2")) == CASES


def test_what_pytest_benchmark_prints_and_saves_is_what_we_timed(suite):
    for _ in range(2):
        result = suite.run(
            *QUICK,
            "--supervm-json=results.json",
            "--benchmark-json=benchmark.json",
            "--benchmark-autosave",
            "--benchmark-compare",
            "--benchmark-compare-fail=mean:9000%",
        )
    result.stdout.fnmatch_lines(["*benchmark 'sums': 4 tests*", "test_parametrised* (NOW)*"])
    assert len(list((suite.path / ".benchmarks").rglob("*.json"))) == 2
    saved = {bench["name"]: bench for bench in json.loads((suite.path / "benchmark.json").read_text())["benchmarks"]}
    assert set(saved) == set(CASES)
    assert saved["test_parametrised[10]"]["extra_info"] == {"size": 10}
    assert saved["test_parametrised[10]"]["group"] == "sums"
    plain = json.loads((suite.path / "results.json").read_text())["run"]["cases"][0]
    (latency,) = (s for s in plain["series"] if s["metric"]["name"] == "latency_p50")
    assert saved["test_plain"]["stats"]["median"] == pytest.approx(latency["launches"][0][0], rel=0.01)


@pytest.mark.parametrize(
    ("option", "outcome", "cases"),
    [
        ("--benchmark-only", {"passed": 6, "skipped": 1}, 6),
        ("--benchmark-skip", {"passed": 1, "skipped": 6}, 0),
        ("--benchmark-disable", {"passed": 6, "failed": 1}, 0),
    ],
)
def test_its_options_for_what_runs_are_heeded(suite, option, outcome, cases):
    suite.write("test_a.py", without("benchmark.stats.stats"))
    if option == "--benchmark-disable":
        outcome = {"passed": 4, "failed": 3}  # those that count rounds, as without us
    result = suite.run(*QUICK, "--supervm-json=results.json", option)
    result.assert_outcomes(**outcome)
    assert len(names(json.loads((suite.path / "results.json").read_text()))) == cases
    if option == "--benchmark-disable":
        result.stdout.fnmatch_lines(["*--benchmark-disable is set*--benchmark-enable*"])


def test_errors_are_those_of_pytest_benchmark(project):
    project.write("test_a.py", FAILING)
    result = project.run(*QUICK)
    result.assert_outcomes(passed=5, failed=1)
    result.stdout.fnmatch_lines(["*ZeroDivisionError*"])


def test_under_coverage_pytest_benchmark_times_and_nothing_is_measured(suite):
    result = suite.run(*QUICK, "--supervm-json=results.json", "--cov=.", "--benchmark-max-time=0.01")
    result.assert_outcomes(passed=7)
    rows = json.loads((suite.path / "results.json").read_text())["cases"]
    assert {row["verdict"] for row in rows if row["metric"] != "run_delay"} == {"unmeasured"}


def test_a_generator_is_unmeasured_and_the_test_passes(project):
    project.write("test_a.py", "def test_a(benchmark): assert next(benchmark(lambda: (n for n in [7]))) == 7")
    project.run(*QUICK, "--benchmark-max-time=0.01").assert_outcomes(passed=1)
    reasons = {row["reason"] for row in project.results(*QUICK, "--benchmark-max-time=0.01")["cases"]}
    assert any("returned a generator" in reason for reason in reasons)


def test_measure_and_benchmark_in_one_test_is_an_error_that_says_so(project):
    project.write("test_a.py", "def test_a(measure, benchmark): benchmark(sum, [1])")
    result = project.run(*QUICK)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*uses both `measure` and `benchmark`*"])


def test_without_pytest_benchmark_nothing_breaks(project):
    project.write("test_a.py", "def test_a(measure): measure(sum, [1])")
    assert len(names(project.results(*QUICK, "-p", "no:benchmark"))) == 1


def test_a_fixture_of_that_name_by_somebody_else_is_left_alone(project):
    project.write(
        "test_a.py",
        "import pytest\n@pytest.fixture\ndef benchmark(): return 7\ndef test_a(benchmark): assert benchmark == 7",
    )
    for options in (("-p", "no:benchmark"),):
        project.run(*QUICK, *options).assert_outcomes(passed=1)


def test_off_means_that_pytest_benchmark_is_untouched(suite):
    def printed(*options):
        text = suite.run("--benchmark-max-time=0.01", "--benchmark-columns=iterations", *options).stdout.str()
        plain = re.sub(r"\d+| {2,}|plugins:.*", "", text)
        return sorted(plain.splitlines())  # its table is in the order of speed

    with_us = printed()
    assert with_us == printed("-p", "no:supervm")
    assert not any("supervm" in line for line in with_us)


WITH_CODSPEED = ("-p", "codspeed")


def test_beside_pytest_codspeed_every_test_becomes_a_case(suite):
    result = suite.run(*WITH_CODSPEED, *QUICK, "--supervm-json=results.json")
    result.assert_outcomes(passed=7)
    assert names(json.loads((suite.path / "results.json").read_text())) == CASES


def test_where_pytest_codspeed_measures_we_leave_its_fixture_alone_and_say_so(suite):
    suite.write("test_a.py", "def test_a(benchmark): assert benchmark(sum, [1]) == 1\n")
    options = (*WITH_CODSPEED, "--codspeed", "--codspeed-max-time=0.01", "--codspeed-warmup-time=0")
    result = suite.run(*options, *QUICK, "--supervm-json=results.json")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*pytest-codspeed is on*supervm does not measure such tests*", "*1 benchmarked*"])
    assert names(json.loads((suite.path / "results.json").read_text())) == []


def test_with_pytest_codspeed_alone_its_tests_run_and_we_say_what_is_lacking(project):
    project.write("hide.py", "import sys; sys.modules['pytest_benchmark'] = None  # as if it were not installed")
    project.write(
        "test_a.py",
        "def test_a(benchmark): assert benchmark(sum, [1]) == 1\ndef test_b(measure): measure(sum, [1])\n",
    )
    options = ("-p", "no:benchmark", "-p", "hide", *WITH_CODSPEED)
    result = project.run(*options, *QUICK, "--supervm-json=results.json")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*pytest-codspeed's fixture `benchmark` calls a function once*"])
    assert names(json.loads((project.path / "results.json").read_text())) == ["test_b"]
