"""A project in a git repository, with a branch to compare. Its work is waiting, so that its tests can be sure."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import pytest

BENCHMARKS = """
import pathlib
import time

ANSWERS = int(pathlib.Path(__file__).with_name("answers").read_text())


def report(answers):
    for _ in range(answers):
        time.sleep(0.001)


def test_yearly(measure):
    measure(report, ANSWERS)


def test_monthly(measure):
    measure(report, 5)


def test_ordinary():
    pass
"""

SETTINGS = """
[tool.pytest.ini_options]
filterwarnings = ["error"]
[tool.supervm]
time = "200ms"
[tool.supervm.policy]
throughput = { block = "10%", warn = "off" }
latency_p99 = { block = "off" }
"""


class Repository:
    """A project with its history."""

    def __init__(self, project, temporary: Path) -> None:
        self.pytester, self.path = project.pytester, project.path
        self.run, self.results, self.write = project.run, project.results, project.write
        self.temporary = temporary

    def git(self, *arguments: str) -> str:
        command = ["git", "-C", str(self.path), "-c", "user.name=x", "-c", "user.email=x@y", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def commit(self, message: str = "a change") -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.path / name).read_text()
        assert old in text
        (self.path / name).write_text(text.replace(old, new))

    def traces(self) -> list[str]:
        """Name what a duel has left: worktrees, notes, scratch folders, cache."""
        trees = self.git("worktree", "list", "--porcelain").count("worktree ") - 1
        notes = list((self.path / ".git").glob("supervm/*"))
        return [*(["a worktree"] * trees), *map(str, notes), *map(str, self.temporary.iterdir())]


@pytest.fixture
def repository(project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Repository:
    """The branch ``feature``, with nothing changed yet since ``main``."""
    temporary = tmp_path / "t"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    runtime = tmp_path / "r"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "c"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    made = Repository(project, temporary)
    made.write("test_sample.py", BENCHMARKS)
    made.write("pyproject.toml", SETTINGS)
    made.write("answers", "20")
    made.write(".gitignore", "__pycache__\n.pytest_cache\nresults.json\n")
    made.git("init", "--quiet", "--initial-branch=main")
    made.commit("begin")
    made.git("switch", "--quiet", "--create", "feature")
    return made
