"""The tables of the reference hold what the code holds: nothing forgotten, nothing invented, nothing left over."""

from __future__ import annotations

import math
import re
import tomllib

import click
import msgspec
import pytest

from pytest_supervm import bisect, model, settings
from pytest_supervm.cli import main
from pytest_supervm.judge import changes, estimate, policy, verdict
from pytest_supervm.measure.quantiles import QUANTILES, samples_needed
from pytest_supervm.report import wording

from .pages import ROOT, blocks, environment
from .write_schema import SCHEMA_FILE, schema_text

REFERENCE = ROOT / "docs" / "reference"


def table(page: str, title: str) -> list[list[str]]:
    """Return the cells of the page's table whose header line begins with `title`."""
    lines = iter((REFERENCE / page).read_text().splitlines())
    return next(_rows(lines) for line in lines if line.startswith(f"| {title} |"))


def tables_by_heading(page: str, title: str) -> dict[str, list[list[str]]]:
    """Return the tables with that header, by the heading above them."""
    found, heading = {}, ""
    lines = iter((REFERENCE / page).read_text().splitlines())
    for line in lines:
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif line.startswith(f"| {title} |"):
            found[heading] = _rows(lines)
    return found


def _rows(lines) -> list[list[str]]:
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line[1:-1].split(" | ")])
    return rows[1:]


def first(rows: list[list[str]]) -> list[str]:
    """Return the first column without its code marks."""
    return [row[0].strip("` ") for row in rows]


def test_the_options_are_those_that_help_prints(project):
    helped = re.findall(r"^  (--supervm\S*)", project.run("--help").stdout.str(), re.MULTILINE)
    assert first(table("options.md", "option")) == helped


def test_the_keys_and_their_defaults_are_those_of_the_settings(tmp_path):
    lines = first(table("options.md", "key and default"))
    file = tmp_path / "pyproject.toml"
    file.write_text("\n".join(["[tool.supervm]", *lines]))
    assert tuple(line.partition(" ")[0] for line in lines) == settings.FILE_KEYS
    defaults = settings.Settings()
    stated = {key: getattr(defaults, key) for key in settings.FILE_KEYS}
    assert settings.read_file(file) == stated | {"time": defaults.least}, "outside of duels, as the page says"


def test_the_policies_shown_first_are_the_defaults_and_the_keys_are_all():
    shown = next(block for block in blocks((REFERENCE / "options.md").read_text()) if block.language == "toml")
    assert tomllib.loads(shown.text)["tool"]["supervm"]["policy"] == policy.DEFAULTS
    assert tuple(first(table("options.md", "key"))) == policy.KEYS


def test_the_metrics_are_the_standard_ones():
    rows = table("fixtures-and-markers.md", "metric")
    described = [model.Metric(*(cell.strip("` ") for cell in row[:3])) for row in rows]
    assert described == list(model.STANDARD_METRICS.values())


@pytest.mark.parametrize("name", QUANTILES)
def test_the_samples_that_a_quantile_needs_are_named(name):
    (row,) = (row for row in table("fixtures-and-markers.md", "metric") if row[0] == f"`{name}`")
    assert row[3].endswith(f" {samples_needed(QUANTILES[name]):_} samples".replace("_", " ").replace("1 000", "1000"))


def test_the_markers_are_described():
    text = (REFERENCE / "fixtures-and-markers.md").read_text()
    for marker in settings.MARKERS:
        assert f"## Marker `{re.split('[:(]', marker)[0]}`" in text


@pytest.mark.parametrize(
    ("title", "words"), [("verdict", model.Verdict), ("action", model.Action), ("gate", model.Gate)]
)
def test_the_words_are_those_of_the_code(title, words):
    assert first(table("verdicts.md", title)) == [word.value for word in words]


@pytest.mark.parametrize(
    "record",
    [
        model.Results,
        model.Row,
        model.Run,
        model.Case,
        model.Series,
        model.Metric,
        model.Machine,
        model.Commit,
        model.Location,
        model.Family,
        model.Against,
        model.Damage,
        model.SelfCheck,
        model.Checked,
        model.Changes,
        model.ChangePoint,
        model.Sighting,
    ],
)
def test_every_field_of_a_record_is_described(record):
    described = tables_by_heading("files.md", "field")[record.__name__]
    assert sorted(first(described)) == sorted(record.__struct_fields__)


def test_every_record_of_the_schema_is_described():
    records = msgspec.json.schema(model.Results)["$defs"]
    enums = {"Verdict", "Gate", "Action"}
    assert set(tables_by_heading("files.md", "field")) == set(records) - enums


def test_the_schema_is_up_to_date():
    assert SCHEMA_FILE.read_text() == schema_text(), "run python tests/docs/write_schema.py"


def test_the_commands_are_those_of_the_command_line():
    described = {tuple(words(line)) for line in first(table("commands.md", "command"))}
    assert {line for line in described if line[1] == "baseline"} == set(_typed(main.commands["baseline"]))


def test_the_options_and_the_file_of_a_bisection_are_described():
    options = [p.opts[0] for p in main.commands["bisect"].params if isinstance(p, click.Option)]
    assert first(table("commands.md", "option")) == options
    assert tuple(first(table("commands.md", "key"))) == bisect.Bisection.__struct_fields__
    assert tuple(first(table("commands.md", "key of a step"))) == bisect.Step.__struct_fields__
    assert {"0", "1", "2", str(bisect.NOTHING), str(bisect.SEVERAL)} == set(first(table("commands.md", "status")))


def words(line: str) -> list[str]:
    return line.split(" ")


def _typed(group: click.Command) -> list[tuple[str, ...]]:
    """Return how each command is typed: with its arguments and required options, and once more with each other one."""
    assert isinstance(group, click.Group)
    typed = []
    for name, command in group.commands.items():
        start = ("supervm", group.name or "", name)
        arguments = [p.make_metavar(click.Context(command)) for p in command.params if isinstance(p, click.Argument)]
        options = [p for p in command.params if isinstance(p, click.Option)]
        required = [part for p in options if p.required for part in (p.opts[0], "N")]
        typed.append((*start, *arguments, *required))
        typed += [(*start, *arguments, *required, p.opts[0]) for p in options if not p.required]
    return typed


CASE = "def test_a(measure): measure(sum, range(1000))\n"
LIMIT = '[tool.supervm.policy]\ncpu_time = { limit = "1 ns" }\n'
STATUSES = {
    "0": [({"test_a.py": CASE}, ["--supervm"])],
    "1": [
        ({"test_a.py": CASE + "def test_b(): assert 0"}, ["--supervm"]),
        ({"test_a.py": CASE, "pyproject.toml": LIMIT}, ["--supervm"]),
        ({"test_a.py": CASE}, ["--supervm-json=test_a.py/results.json"]),
        ({"test_a.py": CASE + "def test_b(): assert 0"}, ["--supervm-save=main"]),
    ],
    "2": [
        ({"test_a.py": CASE + "def test_b(): raise KeyboardInterrupt"}, ["--supervm"]),
        ({"test_a.py": CASE, "test_b.py": "syntax error"}, ["--supervm"]),
    ],
    "3": [({"test_a.py": CASE, "conftest.py": "def pytest_runtestloop(): raise RuntimeError"}, ["--supervm"])],
    "4": [
        ({"test_a.py": CASE}, ["--supervm-time=soon"]),
        ({"test_a.py": CASE}, ["--supervm-baseline=main"]),
        ({"test_a.py": CASE, "pyproject.toml": "[tool.supervm]\nstoer = 1"}, ["--supervm"]),
        ({"test_a.py": f"import pytest\n@pytest.mark.supervm(no={{}})\n{CASE}"}, ["--supervm"]),
    ],
    "5": [({}, ["--supervm"])],
}


SITUATIONS = [(status, files, options) for status, ways in STATUSES.items() for files, options in ways]


@pytest.mark.parametrize(("status", "files", "options"), SITUATIONS)
def test_each_exit_status_comes_in_each_situation_that_is_named(project, monkeypatch, status, files, options):
    monkeypatch.setenv("PYTEST_ADDOPTS", environment()["PYTEST_ADDOPTS"])
    for name, text in files.items():
        project.write(name, text)
    quickly = () if "--supervm-time=soon" in options else ("--supervm-time=20ms",)
    assert project.run(*quickly, *options).ret == int(status)


def test_every_exit_status_is_described():
    assert first(table("verdicts.md", "status")) == list(STATUSES)


@pytest.mark.parametrize(
    "sentence",
    [
        f"**s is never below {100 * estimate.SPREAD_FLOOR:g} %.**",
        f"single kept run, it assumes {100 * estimate.PLANNING_SPREAD:g} %",
        f"The interval lies above {100 * math.expm1(verdict.NEGLIGIBLE):g} %",
        f"at most `level`, {100 * settings.Settings.level:g} % by default",
        f"Fewer than {changes.FEWEST_RUNS} runs show nothing",
        f"the newest {changes.MOST_RUNS} are",
        f"at least {changes.SHORTEST} runs on either side",
        f"expected to be false is at most {100 * changes.FALSE_SHARE:g} %",
        f"in the last {wording.RECENT} runs",
    ],
)
def test_the_numbers_of_the_rules_are_those_of_the_code(sentence):
    assert sentence in " ".join((REFERENCE / "verdicts.md").read_text().split())
