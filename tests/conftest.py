"""What several rooms' tests share: pytest run as a user runs it, on small projects written for the occasion."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

SAMPLE = '''
"""A sample project: reports made of the answers of a service, one after the other.

Its work is waiting, so its speed does not hang on what else this machine is doing, and its tests can be sure.
"""
import pathlib
import time
import pytest

ANSWERS = int(pathlib.Path(__file__).with_name("answers").read_text())


def report(answers):
    for _ in range(answers):
        time.sleep(0.005)
    return answers


@pytest.mark.perf
def test_yearly(measure):
    assert measure(report, ANSWERS, unit="report") == ANSWERS


@pytest.mark.perf
def test_monthly(measure):
    measure(report, 5, unit="report")


def test_ordinary():
    assert report(0) == 0
'''

SETTINGS = """
[tool.supervm]
time = "300ms"
[tool.supervm.policy]
throughput = { warn = "10%", block = "20%" }
latency_p99 = { block = "off" }
"""


class Project:
    """A folder with a project, and the real command run in it."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.path = pytester.path

    def write(self, name: str, text: str) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def run(self, *options: str) -> pytest.RunResult:
        """Run it, without pytest-codspeed unless the options ask for that: it takes long to import."""
        return self.pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:codspeed", *options)

    def results(self, *options: str) -> dict:
        """Run with ``--supervm-json`` and return what it wrote."""
        path = self.path / "results.json"
        path.unlink(missing_ok=True)
        self.run(f"--supervm-json={path}", *options)
        return json.loads(path.read_text())


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    """An empty project."""
    monkeypatch.delenv("CI", raising=False)
    return Project(pytester)


@pytest.fixture(scope="session")
def ten_kept_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sample project and ten real runs of it, kept as ``main``."""
    import subprocess
    import sys

    folder = tmp_path_factory.mktemp("sample")
    (folder / "test_sample.py").write_text(SAMPLE)
    (folder / "pyproject.toml").write_text(SETTINGS)
    (folder / "answers").write_text("20")
    for _ in range(10):
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--supervm-save=main"],
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
        )
    return folder


@pytest.fixture
def sample(project: Project, ten_kept_runs: Path) -> Project:
    """The sample project with its ten kept runs, to be changed at will."""
    shutil.copytree(ten_kept_runs, project.path, dirs_exist_ok=True)
    return project
