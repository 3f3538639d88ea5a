"""The main job, through the real command: measured, judged against kept runs, shown, and the exit status."""

from __future__ import annotations

import json
import math

import pytest


def rows(results, metric="throughput"):
    return {row["id"]: row for row in results["cases"] if row["metric"] in (metric, None)}


def keep_only(project, runs):
    """Leave the last runs of the baseline."""
    path = project.path / "baselines" / "main.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[-runs:]))


def test_an_eleventh_run_of_the_same_code_passes(sample):
    result = sample.run("--supervm-baseline=main")
    result.stdout.fnmatch_lines(["*supervm gate: PASS*against main (10 kept runs*"])
    assert result.ret == pytest.ExitCode.OK


def test_fifteen_percent_more_work_is_called(sample):
    (sample.path / "answers").write_text("23")
    results = sample.results("--supervm-baseline=main")
    slow = rows(results)["test_sample.py::test_yearly"]
    assert slow["verdict"] == "regressed"
    assert slow["action"] == "warn"
    assert 0 < slow["interval"][0] < slow["effect"] < slow["interval"][1]
    assert results["gate"] == "warn"
    assert rows(results)["test_sample.py::test_monthly"]["verdict"] != "regressed"


def test_a_regression_past_the_blocking_threshold_fails_the_run(sample):
    (sample.path / "answers").write_text("30")
    result = sample.run("--supervm-baseline=main")
    result.stdout.fnmatch_lines(["*regressed BLOCKS*", "*supervm gate: BLOCK*"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_strict_fails_on_a_warning(sample):
    (sample.path / "answers").write_text("23")
    assert sample.run("--supervm-baseline=main").ret == pytest.ExitCode.OK
    assert sample.run("--supervm-baseline=main", "--supervm-strict").ret == pytest.ExitCode.TESTS_FAILED


def test_with_one_kept_run_the_same_slowdown_is_inconclusive_and_says_how_many_runs_it_needs(sample):
    (sample.path / "answers").write_text("23")
    keep_only(sample, 1)
    results = sample.results("--supervm-baseline=main")
    assert results["gate"] == "inconclusive"
    slow = rows(results)["test_sample.py::test_yearly"]
    assert slow["verdict"] == "inconclusive"
    assert slow["interval"] is None
    assert "1 kept run" in slow["reason"]
    assert "kept runs would do" in slow["reason"]


def test_a_removed_benchmark_blocks(sample):
    test_file = sample.path / "test_sample.py"
    test_file.write_text(test_file.read_text().replace("def test_monthly", "def tested_monthly"))
    result = sample.run("--supervm-baseline=main")
    result.stdout.fnmatch_lines(["test_sample.py::test_monthly", "*missing BLOCKS*", "*supervm gate: BLOCK*1 missing*"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_a_removed_file_blocks(sample):
    sample.write("test_other.py", "def test_nothing(): pass")
    (sample.path / "test_sample.py").unlink()
    result = sample.run("--supervm-baseline=main")
    result.stdout.fnmatch_lines(["*supervm gate: BLOCK*2 missing*"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_a_skipped_benchmark_is_missing(sample):
    test_file = sample.path / "test_sample.py"
    test_file.write_text(test_file.read_text().replace("def test_monthly", "@pytest.mark.skip\ndef test_monthly"))
    missing = rows(sample.results("--supervm-baseline=main"))["test_sample.py::test_monthly"]
    assert (missing["verdict"], missing["action"]) == ("missing", "block")
    assert "skipped" in missing["reason"]


@pytest.mark.parametrize(
    "selection",
    [
        ("-k", "yearly"),
        ("--deselect", "test_sample.py::test_monthly"),
        ("test_sample.py::test_yearly",),
    ],
)
def test_what_the_user_left_out_is_not_selected_and_does_not_fail(sample, selection):
    results = sample.results("--supervm-baseline=main", *selection)
    left_out = rows(results)["test_sample.py::test_monthly"]
    assert (left_out["verdict"], left_out["action"]) == ("not selected", None)
    assert results["not_selected"] == 1
    assert results["gate"] in ("pass", "inconclusive")


def test_an_unmarked_folder_elsewhere_leaves_the_case_not_selected(sample):
    sample.write("elsewhere/test_b.py", "def test_b(measure): measure(sum, range(1000))")
    results = sample.results("--supervm-baseline=main", "elsewhere")
    assert results["not_selected"] == 2
    assert results["gate"] == "block", "a gate over nothing is closed"


def test_a_failing_benchmark_is_errored_and_its_figures_are_not_kept(sample):
    test_file = sample.path / "test_sample.py"
    test_file.write_text(test_file.read_text().replace("    measure(report, 5", "    assert 0\n    measure(report, 5"))
    before = (sample.path / "baselines" / "main.jsonl").read_bytes()
    results = sample.results("--supervm-baseline=main", "--supervm-save=main")
    assert rows(results)["test_sample.py::test_monthly"]["verdict"] == "errored"
    assert [case["id"] for case in results["run"]["cases"]] == ["test_sample.py::test_yearly"]
    assert (sample.path / "baselines" / "main.jsonl").read_bytes() == before


def test_a_run_that_stops_early_does_not_call_the_rest_missing(sample):
    sample.write("test_a.py", "def test_fails(): assert 0")
    results = sample.results("--supervm-baseline=main", "-x")
    assert {row["verdict"] for row in results["cases"]} == {"errored"}


def test_kept_runs_of_another_machine_never_block(sample):
    path = sample.path / "baselines" / "main.jsonl"
    path.write_text(path.read_text().replace('"cores":', '"cores":9'))
    (sample.path / "answers").write_text("60")
    result = sample.run("--supervm-baseline=main")
    result.stdout.fnmatch_lines(["*inconclusive*", "*other machine*", "*cores: 9*", "*supervm gate: INCONCLUSIVE*"])
    assert result.ret == pytest.ExitCode.OK


def test_a_baseline_of_damaged_lines_only_blocks(sample):
    path = sample.path / "baselines" / "main.jsonl"
    path.write_text('{"half": \n')
    result = sample.run("--supervm-baseline=main")
    result.stdout.fnmatch_lines(["*main.jsonl:1:*", "*supervm gate: BLOCK*nothing was judged*"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_a_damaged_line_is_reported_with_its_number_and_kept(sample):
    path = sample.path / "baselines" / "main.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:3], "garbage\n", *lines[3:]]))
    result = sample.run("--supervm-baseline=main", "--supervm-save=main")
    result.stdout.fnmatch_lines(["*main.jsonl:4:*"])
    assert "garbage\n" in path.read_text()


def test_saving_accepts_a_removal(sample):
    test_file = sample.path / "test_sample.py"
    test_file.write_text(test_file.read_text().replace("def test_monthly", "def tested_monthly"))
    sample.run("--supervm-save=main")
    assert sample.run("--supervm-baseline=main").ret == pytest.ExitCode.OK


def test_a_blocked_run_is_not_added_to_the_baseline(sample):
    test_file = sample.path / "test_sample.py"
    test_file.write_text(test_file.read_text().replace("def test_monthly", "def tested_monthly"))
    before = (sample.path / "baselines" / "main.jsonl").read_bytes()
    result = sample.run("--supervm-baseline=main", "--supervm-save=main")
    result.stdout.fnmatch_lines(["*not added to the baseline 'main': the gate blocks*"])
    assert (sample.path / "baselines" / "main.jsonl").read_bytes() == before


def test_a_benchmark_inherited_from_another_file_is_missing_with_its_own_file(sample):
    sample.write("shared.py", "class Suite:\n    def test_nap(self, measure): measure(lambda: None)\n")
    inherits = sample.write("test_naps.py", "from shared import Suite\nclass TestNaps(Suite): pass\n")
    sample.run("--supervm-save=naps", "test_naps.py")
    inherits.write_text("def test_other(): pass")
    missing = rows(sample.results("--supervm-baseline=naps", "test_naps.py"))["test_naps.py::TestNaps::test_nap"]
    assert (missing["verdict"], missing["location"]["file"]) == ("missing", "shared.py")


def test_a_slower_second_half_of_the_history_is_a_change_point(sample):
    path = sample.path / "baselines" / "main.jsonl"
    once, again = ([json.loads(line) for line in path.read_text().splitlines()] for _ in range(2))
    for run in once:
        run |= {key: f"1{run[key][1:]}" for key in ("id", "time")}  # a thousand years ago
    runs = [*once, *again]
    for number, run in enumerate(runs):
        run["commit"] = {"id": f"{number:02}" * 20, "dirty": False, "branch": "main"}
        for case in run["cases"]:
            for series in case["series"]:
                if number < 10 and case["id"].endswith("yearly") and series["metric"]["name"] == "throughput":
                    series["launches"] = [[1.5 * value for value in blocks] for blocks in series["launches"]]
    path.write_text("".join(json.dumps(run) + "\n" for run in runs))
    results = sample.results("--supervm-baseline=main", "--supervm-report=report.html")
    assert results["changes"]["series"] == 2
    (point,) = (point for point in results["changes"]["points"] if point["id"].endswith("yearly"))
    assert (point["metric"], point["index"], point["commits"]) == ("throughput", 10, "0909090..1010101")
    assert point["effect"] == pytest.approx(math.log(1.5), rel=0.2)
    assert "0909090..1010101" in (sample.path / "report.html").read_text()
