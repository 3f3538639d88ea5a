"""The command ``supervm``: what people see, what goes to which stream, and the exit status."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pytest_supervm.baselines import FileStore, StoreUnreadable
from pytest_supervm.cli import main
from pytest_supervm.model import SCHEMA, Case, Commit, History, Location, Machine, Metric, Run, Series

CONSOLE_SCRIPT = Path(sys.executable).with_name("supervm")


def a_run(number: int, *, cores: int = 2) -> Run:
    """Return the run of that number; later numbers are later in time."""
    return Run(
        schema=SCHEMA,
        id=f"20260131T12000{number}Z-0",
        time=f"2026-01-31T12:00:0{number}Z",
        machine=Machine("Abacus 9", cores, 8, "Linux", "3.13.1", "c0ffee"),
        commit=Commit(f"{number}123456789abcdef", dirty=number == 0),
        cases=(
            Case(
                id="test_x.py::test_y[4]",
                location=Location("test_x.py", 7),
                series=(
                    Series(metric=Metric("latency_p50", "s", "lower"), launches=((0.001 * (number + 1),),)),
                    Series(metric=Metric("peak_memory", "B", "lower"), unmeasured="the kernel does not say"),
                ),
            ),
        ),
    )


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a project with the baselines ``main`` (three runs, two machines) and ``v1``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text('[tool.supervm]\nstore = "kept"\n')
    store = FileStore(tmp_path / "kept", tmp_path / "kept")
    for number in range(3):
        store.append("main", a_run(number, cores=2 if number else 4))
    store.append("v1", a_run(0))
    return tmp_path


@pytest.fixture
def damaged(project: Path) -> Path:
    """The project, with half a line at the end of ``main``."""
    with (project / "kept" / "main.jsonl").open("ab") as file:
        file.write(b'{"schema": 1, "id"\n')
    return project


def supervm(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def cells(output: str) -> list[list[str]]:
    """Return the cells of a table's rows, which stand two or more blanks apart."""
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in output.splitlines()]


@pytest.mark.usefixtures("project")
def test_list() -> None:
    result = supervm("baseline", "list")
    assert result.exit_code == 0
    assert cells(result.stdout) == [
        ["name", "runs", "machines", "newest", "commit", "damaged lines"],
        ["main", "3", "2", "2026-01-31T12:00:02Z", "2123456789", "0"],
        ["v1", "1", "1", "2026-01-31T12:00:00Z", "0123456789 (dirty)", "0"],
    ]


def test_list_of_nothing_says_how_to_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = supervm("baseline", "list")
    assert result.exit_code == 0
    assert result.stdout == "There is no baseline yet: save one with pytest --supervm-save=NAME\n"
    assert not list(tmp_path.iterdir())


def test_list_counts_damage_and_knows_a_baseline_without_runs(damaged: Path) -> None:
    kept = damaged / "kept"
    (kept / "only.jsonl").write_text("junk\n")
    (kept / "loose.jsonl").write_text("")
    result = supervm("baseline", "list")
    assert result.exit_code == 0
    assert cells(result.stdout)[1:] == [
        ["loose", "0", "0", "-", "-", "0"],
        ["main", "3", "2", "2026-01-31T12:00:02Z", "2123456789", "1"],
        ["only", "0", "0", "-", "-", "1"],
        ["v1", "1", "1", "2026-01-31T12:00:00Z", "0123456789 (dirty)", "0"],
    ]


@pytest.mark.usefixtures("project")
def test_list_goes_on_after_a_baseline_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    load = FileStore.load

    def refuse_main(store: FileStore, name: str) -> History:
        if name == "main":
            raise StoreUnreadable("main cannot be read: Input/output error")
        return load(store, name)

    monkeypatch.setattr(FileStore, "load", refuse_main)
    result = supervm("baseline", "list")
    assert result.exit_code == 1
    assert result.stderr == "Error: main cannot be read: Input/output error\n"
    assert [row[0] for row in cells(result.stdout)] == ["name", "v1"]


@pytest.mark.usefixtures("project")
def test_show() -> None:
    result = supervm("baseline", "show", "main")
    assert result.exit_code == 0
    machine = "Abacus 9, 2 cores, 8 GiB, Python 3.13.1"
    assert cells(result.stdout) == [
        ["run", "time", "commit", "machine", "cases"],
        ["20260131T120000Z-0", "2026-01-31T12:00:00Z", "0123456789 (dirty)", machine.replace("2 c", "4 c"), "1"],
        ["20260131T120001Z-0", "2026-01-31T12:00:01Z", "1123456789", machine, "1"],
        ["20260131T120002Z-0", "2026-01-31T12:00:02Z", "2123456789", machine, "1"],
        [],
        ["case", "metric", "newest value"],
        ["test_x.py::test_y[4]", "latency_p50", "3.00 ms"],
        ["test_x.py::test_y[4]", "peak_memory", "the kernel does not say"],
    ]


def test_show_of_nothing_but_damage(damaged: Path) -> None:
    (damaged / "kept" / "main.jsonl").write_text("junk\n")
    result = supervm("baseline", "show", "main")
    assert result.exit_code == 0
    assert result.stdout == "main holds no run that can be read\n"
    assert "main.jsonl:1" in result.stderr


@pytest.mark.usefixtures("damaged")
def test_show_json_prints_the_records_alone() -> None:
    result = supervm("baseline", "show", "main", "--json")
    assert [json.loads(line)["id"][14] for line in result.stdout.splitlines()] == ["0", "1", "2"]
    assert "main.jsonl:4" in result.stderr


def test_a_record_cannot_steer_the_terminal(project: Path) -> None:
    file = project / "kept" / "v1.jsonl"
    file.write_bytes(file.read_bytes().replace(b"::test_y", b"::\\u001b[2J\\n"))
    result = supervm("baseline", "show", "v1")
    assert "test_x.py::\ufffd[2J\ufffd[4]" in result.stdout
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize(
    "arguments", [("list",), ("show", "main"), ("prune", "main", "--keep=1"), ("rename", "main", "other")]
)
@pytest.mark.usefixtures("damaged")
def test_every_command_warns_of_damaged_lines_and_keeps_them(damaged: Path, arguments: tuple[str, ...]) -> None:
    result = supervm("baseline", *arguments)
    assert result.exit_code == 0
    name, line = ("other" if arguments[0] == "rename" else "main"), (2 if arguments[0] == "prune" else 4)
    assert f"Warning: kept/{name}.jsonl:{line}: not a line of JSON" in result.stderr
    assert result.stderr.endswith("; the line was skipped and is kept as it is\n")
    assert (damaged / "kept" / f"{name}.jsonl").read_bytes().endswith(b'{"schema": 1, "id"\n')


@pytest.mark.usefixtures("project")
def test_prune() -> None:
    assert supervm("baseline", "prune", "main", "--keep", "1").stdout == "main: 2 runs removed, 1 kept\n"
    assert supervm("baseline", "prune", "main", "--keep", "1").stdout == "main: 0 runs removed, 1 kept\n"


@pytest.mark.usefixtures("project")
def test_rename() -> None:
    assert supervm("baseline", "rename", "v1", "v2").stdout == "v1 is called v2 now, with 1 run\n"
    assert [row[0] for row in cells(supervm("baseline", "list").stdout)] == ["name", "main", "v2"]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("show", "mian"), 1, "there is no baseline 'mian' in kept (known: main, v1): save one with pytest --supervm"),
        (("show", "../main"), 1, "'../main' cannot be the name of a baseline"),
        (("rename", "main", "v1"), 1, "'main' was not renamed: there is a baseline 'v1' in kept already"),
        (("--store=sqlite:///x.db", "list"), 1, "a store at sqlite://... is not supported"),
        (("prune", "main"), 2, "Missing option '--keep'"),
        (("prune", "main", "--keep=0"), 2, "Invalid value for '--keep': 0 is not in the range x>=1"),
        (("burn",), 2, "No such command 'burn'"),
    ],
)
@pytest.mark.usefixtures("project")
def test_mistakes(arguments: tuple[str, ...], status: int, message: str) -> None:
    result = supervm("baseline", *arguments)
    assert result.exit_code == status
    assert f"Error: {message}" in result.stderr
    assert result.stdout == ""


def test_paths_in_messages_open_from_the_working_directory(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "src").mkdir()
    monkeypatch.chdir(project / "src")
    assert "in ../kept (known: main, v1)" in supervm("baseline", "show", "mian").stderr


def test_the_store_of_the_command_line_wins(project: Path) -> None:
    (project / "kept").rename(project / "moved")
    assert "there is no baseline 'main'" in supervm("baseline", "show", "main").stderr
    assert supervm("baseline", "--store", "moved", "show", "main").exit_code == 0
    assert supervm("baseline", "--store", str(project / "moved"), "show", "main").exit_code == 0


def test_the_setting_may_be_an_absolute_path_and_no_url(project: Path) -> None:
    (project / "pyproject.toml").write_text(f"[tool.supervm]\nstore = '{project}/kept'\n")
    assert supervm("baseline", "show", "main").exit_code == 0
    (project / "pyproject.toml").write_text("[tool.supervm]\nstore = 'sqlite:///kept.db'\n")
    assert "a store at sqlite://... is not supported" in supervm("baseline", "show", "main").stderr


@pytest.mark.parametrize("text", ["", "[tool.supervm]\nlevel = 0.01\n"])
def test_without_a_setting_the_store_is_beside_pyproject_toml(project: Path, text: str) -> None:
    (project / "pyproject.toml").write_text(text)
    assert "in baselines (it holds none yet)" in supervm("baseline", "show", "main").stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[tool", "pyproject.toml cannot be read"),
        (b"\xff", "cannot be read"),
        (b"tool.supervm.store = 3", "store must be the name of a folder, not 3"),
        (b"tool.supervm = 1", "must be a table, not 1"),
        (b"tool.supervm.stroe = 'x'", "did you mean 'store'?"),
    ],
)
def test_a_project_file_that_says_nothing_sensible(project: Path, text: bytes, message: str) -> None:
    (project / "pyproject.toml").write_bytes(text)
    result = supervm("baseline", "list")
    assert result.exit_code == 1
    assert message in result.stderr
    assert supervm("baseline", "list", "--help").exit_code == 0


def test_without_a_project_file_the_store_is_here(project: Path) -> None:
    (project / "pyproject.toml").unlink()
    (project / "kept").rename(project / "baselines")
    assert supervm("baseline", "show", "main").exit_code == 0


# Commands of other packages


@pytest.fixture
def strangers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package whose commands work, lack a module, fail, are none, and claim a name of ours."""
    modules = {
        "good": "import click\n@click.command()\n@click.option('--loud', is_flag=True)\ndef run(loud):\n"
        "    'Do good.'\n    click.echo('GOOD' if loud else 'good')\n",
        "bare": "import absent_thing.part\n",
        "lost": "import lost_thing\n",
        "wild": "raise RuntimeError('no moon')\n",
        "none": "run = 3\n",
    }
    for name, text in modules.items():
        (tmp_path / f"stranger_{name}.py").write_text(text)
    information = tmp_path / "stranger-1.dist-info"
    information.mkdir()
    entries = "".join(f"{name} = stranger_{name}:run\n" for name in modules)
    (information / "entry_points.txt").write_text(f"[supervm.commands]\n{entries}baseline = stranger_wild:run\n")
    (information / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: stranger\nVersion: 1\nRequires-Dist: click\n"
        "Requires-Dist: Absent.Thing>=2; extra == 'deep'\nProvides-Extra: deep\n"
    )
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("strangers")
def test_a_command_of_another_package_runs() -> None:
    assert supervm("good", "--loud").stdout == "GOOD\n"


@pytest.mark.usefixtures("strangers")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("bare", "No module named 'absent_thing': install it with pip install \"stranger[deep]\""),
        ("lost", "No module named 'lost_thing': install lost_thing"),
        ("wild", "RuntimeError: no moon"),
        ("none", "stranger_none:run is not a click command"),
    ],
)
def test_a_broken_command_says_what_failed(name: str, reason: str) -> None:
    for arguments in ((), ("--loud", "x"), ("--help",)):
        result = supervm(name, *arguments)
        assert result.exit_code == 1
        assert f"Error: the command '{name}' of stranger cannot be loaded: " in result.stderr
        assert reason in result.stderr


@pytest.mark.usefixtures("strangers", "project")
def test_a_broken_command_breaks_no_other() -> None:
    assert supervm("baseline", "list").exit_code == 0
    result = supervm("--help")
    assert result.exit_code == 0
    assert "Do good." in result.stdout
    assert "Look after the runs" in result.stdout
    assert "cannot be loaded" in result.stdout


# The command as it is installed


def test_console_script(project: Path) -> None:
    done = subprocess.run(
        [CONSOLE_SCRIPT, "baseline", "show", "mian"], cwd=project, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: there is no baseline 'mian' in kept (known: main, v1)")
    done = subprocess.run([CONSOLE_SCRIPT, "--version"], capture_output=True, text=True, check=True)
    assert importlib.metadata.version("pytest-supervm") in done.stdout


def test_the_command_starts_without_what_it_does_not_need() -> None:
    heavy = {"numpy", "scipy", "plotly", "numba", "sqlalchemy", "supervm_core", "pytest", "rich", "jinja2"}
    program = f"import sys, pytest_supervm.cli; print(sorted({heavy!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
