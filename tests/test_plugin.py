"""The plugin as a user of pytest meets it: off means nothing happens, options, errors, and where figures go."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

ONE_CASE = """
import pytest

@pytest.mark.perf
def test_sum(measure):
    assert measure(sum, range(100_000), work=100_000, unit="number") == 4999950000
"""

QUICK = "--supervm-time=20ms"


def assert_usage_error(result, *patterns):
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(list(patterns))


class TestOff:
    def test_measure_calls_once_and_returns_the_result(self, project):
        project.write(
            "test_a.py",
            """
            def test_a(measure):
                calls, setups = [], []
                assert measure(calls.append, 1, setup=lambda: setups.append(1)) is None
                assert (calls, setups) == ([1], [1])
                measure.record("failure_rate", 0.5)
                measure.latency([0.1, 0.2])
            """.replace("\n            ", "\n"),
        )
        result = project.run()
        assert result.ret == 0
        assert "supervm" not in result.stdout.str().replace("plugins:", "").replace("supervm-0", "")

    def test_nothing_is_written(self, project):
        project.write("test_a.py", ONE_CASE)
        project.run()
        assert not list(project.path.glob("baselines*")) + list(project.path.glob("*.json*"))

    def test_a_project_that_only_has_it_installed_imports_no_heavy_package(self):
        heavy = {"numpy", "scipy", "numba", "msgspec", "psutil", "plotly", "jinja2", "rich", "click", "supervm_core"}
        code = (
            "import sys, pytest; before = set(sys.modules); import pytest_supervm.plugin\n"
            f"print(sorted({heavy} & (set(sys.modules) - before)))\n"
            "print(sorted(m for m in set(sys.modules) - before if m.startswith('pytest_supervm')))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        loaded, own = done.stdout.splitlines()
        assert loaded == "[]"
        assert own == str(
            ["pytest_supervm", "pytest_supervm.cases", "pytest_supervm.plugin", "pytest_supervm.settings"]
        )

    def test_the_fixtures_and_markers_are_listed(self, project):
        project.run("--fixtures").stdout.fnmatch_lines(["measure -- *", "vm -- *", "workload -- *"])
        project.run("--markers").stdout.fnmatch_lines(["@pytest.mark.perf:*", "@pytest.mark.supervm(METRIC=*"])

    def test_collect_only_measures_and_judges_nothing(self, project):
        project.write("test_a.py", ONE_CASE)
        result = project.run("--supervm-save=main", "--collect-only")
        assert result.ret == 0
        assert not (project.path / "baselines").exists()


class TestFigures:
    def test_one_case_has_every_metric(self, project):
        project.write("test_a.py", ONE_CASE)
        results = project.results(QUICK)
        (case,) = results["run"]["cases"]
        assert case["id"] == "test_a.py::test_sum"
        assert case["location"] == {"file": "test_a.py", "line": 4}
        units = {series["metric"]["name"]: series["metric"]["unit"] for series in case["series"]}
        assert units == {
            "throughput": "number/s",
            "latency_p50": "s",
            "latency_p90": "s",
            "latency_p95": "s",
            "latency_p99": "s",
            "latency_p999": "s",
            "cpu_time": "s/number",
            "peak_memory": "B",
            "run_delay": "ratio",
        }
        assert {row["metric"] for row in results["cases"]} == set(units)
        assert {"garbage collector", "clock", "blocks"} <= set(case["conditions"])

    def test_the_record_says_where_it_comes_from(self, project):
        project.write("test_a.py", ONE_CASE)
        run = project.results(QUICK)["run"]
        assert run["schema"] == 1
        assert set(run["machine"]) == {"cpu", "cores", "memory", "os", "python", "id"}
        assert "pytest" in run["packages"]
        assert run["calibration"] > 0
        assert run["settings"]["time"] == "0.02"
        assert run["scope"] == ["."]

    def test_recorded_figures_and_latencies_join_the_case(self, project):
        project.write(
            "test_a.py",
            """
from pytest_supervm import Histogram

def test_a(measure):
    measure(sum, range(1000))
    measure.record("write_amplification", 3.5)
    measure.record("size", 2, unit="MB")
    measure.latency(Histogram(edges=[0.0, 1.0, 2.0], counts=[10_000, 10_000]))
""",
        )
        rows = {row["metric"]: row["candidate"] for row in project.results(QUICK)["cases"]}
        assert rows["write_amplification"] == 3.5
        assert rows["size"] == 2_000_000
        assert rows["latency_p50"] == 1.0
        assert rows["latency_p99"] == pytest.approx(1.98)

    def test_a_quantile_of_too_few_samples_says_how_many_it_needs(self, project):
        project.write("test_a.py", "import time\ndef test_a(measure): measure(time.sleep, 0.01)")
        (row,) = [r for r in project.results(QUICK, "--supervm-max-time=50ms")["cases"] if r["metric"] == "latency_p99"]
        assert row["verdict"] == "unmeasured"
        assert "1000 samples" in row["reason"]

    def test_under_coverage_nothing_is_measured_and_the_gate_cannot_pass(self, project):
        project.write("test_a.py", ONE_CASE)
        project.run(QUICK, "--supervm-save=main")
        result = project.run(QUICK, "--supervm-baseline=main", "--cov=.")
        result.stdout.fnmatch_lines(["*unmeasured*", "*coverage*run without it*", "*gate: BLOCK*nothing was judged*"])
        assert result.ret == pytest.ExitCode.TESTS_FAILED

    def test_measuring_twice_in_a_test_is_an_error_that_says_what_to_do(self, project):
        project.write("test_a.py", "def test_a(measure):\n    measure(sum, [1])\n    measure(sum, [1])")
        for options in ((), (QUICK,)):
            project.run(*options).stdout.fnmatch_lines(["*MeasureError*one case. Parametrize*"])

    def test_the_subject_is_ready_to_run(self, project):
        project.write(
            "test_a.py",
            """
import pytest

@pytest.mark.perf
def test_transfers(vm, workload, measure):
    batch = workload("transfer", txs=10_000)
    receipts = measure(vm.execute, batch, work=len(batch), unit="tx")
    assert receipts.failed == 0
    assert vm.execute(batch).failed == 0
""",
        )
        assert project.run(QUICK).ret == 0


class TestKeeping:
    def test_a_saved_run_is_one_line_and_listed(self, project):
        project.write("test_a.py", ONE_CASE)
        for _ in range(2):
            project.run(QUICK, "--supervm-save=main").stdout.fnmatch_lines(["wrote this run to the baseline 'main'"])
        lines = (project.path / "baselines" / "main.jsonl").read_text().splitlines()
        assert [json.loads(line)["cases"][0]["id"] for line in lines] == ["test_a.py::test_sum"] * 2

    def test_runs_kept_with_other_settings_are_named(self, project):
        project.write("test_a.py", ONE_CASE)
        project.run("--supervm-time=10ms", "--supervm-save=main")
        project.run(QUICK, "--supervm-baseline=main").stdout.fnmatch_lines(["*other settings: time 0.01 -> 0.02"])

    def test_an_unknown_baseline_lists_the_known_ones_and_how_to_save(self, project):
        project.write("test_a.py", ONE_CASE)
        project.run(QUICK, "--supervm-save=main")
        assert_usage_error(project.run("--supervm-baseline=mian"), "*mian*main*--supervm-save=*")

    @pytest.mark.parametrize("name", ["../x", "", "a b", ".hidden"])
    def test_a_name_that_is_no_file_name_is_refused_before_anything_runs(self, project, name):
        project.write("test_a.py", ONE_CASE)
        assert_usage_error(project.run(f"--supervm-save={name}"), "*cannot be the name of a baseline*")

    def test_a_run_that_cannot_be_saved_is_kept_elsewhere(self, project):
        project.write("test_a.py", ONE_CASE)
        project.write("baselines", "a file where the store should be")
        result = project.run(QUICK, "--supervm-save=main")
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        result.stdout.fnmatch_lines(["*baselines*The run is kept in *.jsonl*"])

    def test_an_interrupted_run_shows_what_it_has_and_keeps_nothing(self, project):
        project.write("test_a.py", ONE_CASE + "\ndef test_stop(): raise KeyboardInterrupt")
        result = project.run(QUICK, "--supervm-save=main", "--supervm-json=results.json")
        assert result.ret == pytest.ExitCode.INTERRUPTED
        result.stdout.fnmatch_lines(["*gate: INCONCLUSIVE*interrupted*", "*not added*interrupted*"])
        assert not (project.path / "baselines").exists()
        assert len(json.loads((project.path / "results.json").read_text())["run"]["cases"]) == 1

    def test_a_file_that_cannot_be_collected_is_not_called_an_interruption(self, project):
        project.write("test_a.py", "def test_a(:")
        result = project.run(QUICK, "--supervm-save=main")
        result.stdout.fnmatch_lines(["*gate: INCONCLUSIVE*could not be collected*", "*not added to*"])
        assert result.ret == pytest.ExitCode.INTERRUPTED

    def test_a_report_that_cannot_be_written_is_said_and_fails(self, project):
        project.write("test_a.py", ONE_CASE)
        result = project.run(QUICK, "--supervm-json=test_a.py/results.json")
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        result.stdout.fnmatch_lines(["*test_a.py/results.json*"])

    def test_the_report_is_one_file(self, project):
        project.write("test_a.py", ONE_CASE)
        project.run(QUICK, "--supervm-save=main", "--supervm-report=out/report.html")
        page = (project.path / "out" / "report.html").read_text()
        assert "test_sum" in page
        assert "<script src" not in page


class TestMistakes:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ('stoer = "x"', "*unknown key 'stoer'*store, level*did you mean 'store'*"),
            ("level = 2.0", "*level must be a number above 0 and below 0.5*"),
            ('policy = { throughptu = { warn = "5%" } }', "*unknown metric 'throughptu'*throughput, latency_p50*"),
            ('policy = { throughput = { wran = "5%" } }', "*unknown key 'wran'*warn, block, limit*"),
            ('policy = { latency_p99 = { limit = "9 parsecs" } }', "*'9 parsecs' is not a quantity in s*ms*"),
            ('policy = { throughput = { warn = "5" } }', "*'5' is not a percentage*"),
            ('policy = { throughput = "5%" }', "*must be a table*"),
            ('time = "soon"', "*'soon' is not a duration*500ms*"),
            ('metrics = { latency_p99 = { unit = "s", better = "lower" } }', "*standard metric*"),
            ("metrics = { depth = { unit = 3 } }", "*depth must read*"),
        ],
    )
    def test_a_mistake_in_pyproject_is_a_usage_error_that_lists_what_is_known(self, project, settings, message):
        project.write("pyproject.toml", f"[tool.supervm]\n{settings}\n")
        project.write("test_a.py", ONE_CASE)
        assert_usage_error(project.run("--supervm"), message)

    @pytest.mark.parametrize(
        ("marker", "message"),
        [
            ('supervm(throughptu={"warn": "5%"})', "*test_a.py::test_sum*unknown metric 'throughptu'*throughput*"),
            ('supervm(throughput={"blok": "5%"})', "*test_a.py::test_sum*unknown key 'blok'*warn, block, limit*"),
            ('supervm("throughput")', "*test_a.py::test_sum*by name*"),
        ],
    )
    def test_a_mistake_in_a_marker_is_a_usage_error_that_names_the_test(self, project, marker, message):
        project.write("test_a.py", ONE_CASE.replace("mark.perf", f"mark.{marker}"))
        assert_usage_error(project.run("--supervm"), message)

    def test_a_declared_metric_can_have_a_policy_and_must_be_recorded_as_declared(self, project):
        project.write(
            "pyproject.toml",
            '[tool.supervm]\nmetrics = { depth = { unit = "level", better = "lower" } }\n'
            'policy = { depth = { limit = "3" } }\n',
        )
        test = project.write("test_a.py", 'def test_a(measure): measure.record("depth", 4, unit="level")')
        result = project.run("--supervm")
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        result.stdout.fnmatch_lines(["*BLOCKS*", "*over its limit*"])
        test.write_text('def test_a(measure): measure.record("depth", 4, unit="s")')
        project.run("--supervm").stdout.fnmatch_lines(["*MeasureError*level*"])


class TestLimits:
    def test_a_limit_blocks_without_a_baseline(self, project):
        project.write("test_a.py", 'def test_a(measure): measure.record("failure_rate", 0.2, unit="%")')
        project.write("pyproject.toml", '[tool.supervm.policy]\nfailure_rate = { limit = "0.1%" }\n')
        result = project.run("--supervm")
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        result.stdout.fnmatch_lines(["*0.00200 is over its limit of 0.00100*", "*gate: BLOCK*"])

    def test_a_marker_lifts_the_limit_for_one_test(self, project):
        project.write(
            "test_a.py",
            "import pytest\n@pytest.mark.supervm(failure_rate={'limit': '1%'})\n"
            'def test_a(measure): measure.record("failure_rate", 0.2, unit="%")',
        )
        project.write("pyproject.toml", '[tool.supervm.policy]\nfailure_rate = { limit = "0.1%" }\n')
        assert project.run("--supervm").ret == 0

    def test_measuring_without_baseline_and_limits_passes_and_says_that_nothing_was_judged(self, project):
        project.write("test_a.py", ONE_CASE)
        result = project.run(QUICK)
        assert result.ret == 0
        result.stdout.fnmatch_lines(["*nothing was judged*"])


class TestXdist:
    def test_a_mistake_in_a_marker_ends_in_a_usage_error_too(self, project):
        project.write("test_a.py", ONE_CASE.replace("mark.perf", 'mark.supervm(throughptu={"warn": "5%"})'))
        result = project.run(QUICK, "-n", "2")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stdout.fnmatch_lines(["*unknown metric 'throughptu'*throughput*"])

    def test_what_workers_left_out_is_not_missing(self, project):
        project.write("test_a.py", ONE_CASE + "\ndef test_b(measure): measure(sum, range(9000))")
        project.run(QUICK, "--supervm-save=main")
        results = project.results(QUICK, "--supervm-baseline=main", "-n", "1", "-k", "test_b")
        verdicts = {row["id"]: row["verdict"] for row in results["cases"]}
        assert verdicts["test_a.py::test_sum"] == "not selected"
