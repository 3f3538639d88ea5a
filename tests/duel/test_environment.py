"""Environments of the sides' own: when they are made, of what, and that a killed or failed build leaves no half of one.

No index is asked: what is installed are wheels that the test writes, and a compiler that the machine has.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import zipfile
from pathlib import Path

import msgspec
import pytest

from pytest_supervm.duel import checkout, environment, needs
from pytest_supervm.duel.match import Side
from pytest_supervm.settings import SettingsError, read_file

from .conftest import SETTINGS
from .test_duel import BRIEF, verdicts

MEASURED = """
from pathlib import Path

def test_a(measure):
    from {module} import VALUE
    assert measure(lambda: VALUE) == int(Path(__file__).with_name("value").read_text())
"""

EXTENSION = """
#include <Python.h>
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "built", NULL, -1, NULL};
PyMODINIT_FUNC PyInit_built(void) {
    PyObject *module = PyModule_Create(&definition);
    PyModule_AddIntConstant(module, "VALUE", VALUE);
    return module;
}
"""

BUILD = """
import subprocess, sysconfig
include, suffix = sysconfig.get_path("include"), sysconfig.get_config_var("EXT_SUFFIX")
value = open("value").read().strip()
options = ["-shared", "-fPIC", f"-I{include}", f"-DVALUE={value}"]
subprocess.run(["cc", *options, "src/shop/built.c", "-o", f"src/shop/built{suffix}"], check=True)
"""


def wheel(folder: Path, version: int) -> None:
    """Write a wheel of the package ``dep``."""
    folder.mkdir(exist_ok=True)
    about = f"dep-{version}.dist-info"
    with zipfile.ZipFile(folder / f"dep-{version}-py3-none-any.whl", "w") as file:
        file.writestr("dep.py", f"VALUE = {version}")
        file.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: dep\nVersion: {version}\n")
        file.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{about}/RECORD", "")


@pytest.fixture
def changed(repository):
    """Change a repository: the value that its test expects is 1 at the merge base, and 2 in the working tree."""

    def change(module: str, before: dict[str, str], after: dict[str, str]) -> None:
        for files, value in ((before, "1"), (after, "2")):
            for name, text in {**files, "value": value, "test_sample.py": MEASURED.format(module=module)}.items():
                repository.write(name, text)
            if files is before:
                repository.commit()
                repository.git("branch", "--force", "main")

    return change


def test_each_side_has_the_dependencies_that_its_own_files_name(repository, changed):
    for version in (1, 2):
        wheel(repository.path / "wheels", version)
    requirements = [f"--no-index\n./wheels/dep-{version}-py3-none-any.whl\n" for version in (1, 2)]
    changed("dep", *({"requirements.txt": text} for text in requirements))
    result = repository.run(*BRIEF, "--supervm-json=results.json")
    result.stdout.fnmatch_lines(["supervm: setting up the baseline side: python -m pip install -r requirements.txt"])
    results = json.loads((repository.path / "results.json").read_text())
    assert verdicts(results)["test_a"]["verdict"] == "inconclusive", "each side saw the version that it names"
    said = " ".join(results["notes"])
    assert "requirements.txt differs between the sides, so each side has an environment of its own" in said
    assert "what is installed differs between the sides: dep 1 -> 2" in said
    assert results["run"]["packages"]["dep"] == "2"
    assert repository.traces() == []


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler (cc)")
def test_an_extension_module_is_built_on_either_side_from_its_own_sources(repository, changed):
    project = {"src/shop/__init__.py": "", "src/shop/built.c": EXTENSION, "build.py": BUILD, ".gitignore": "*.so\n"}
    live = f"{SETTINGS}\n[tool.supervm.live]\ninstall = 'python build.py'\n"
    changed("shop.built", project, {"pyproject.toml": live})
    results = repository.results(*BRIEF)
    assert verdicts(results)["test_a"]["verdict"] == "inconclusive", "each side was built from what it has"


class Places:
    """A side in a checkout, whose environment is asked for again and again."""

    def __init__(self, repository) -> None:
        self.path = repository.path
        arguments = (repository.path, repository.path, repository.path, (), repository.temporary / "s")
        self.side = Side("candidate", *arguments, {"PATH": "/usr/bin:/bin"})
        self.told: list[str] = []

    def have(self, command: str = "true") -> Side:
        """Have the environment set up, and say no more about it."""
        with environment._own(self.side, command, ["shape"], self.told.append) as side:
            assert side.venv is not None
            return side


def test_the_life_of_an_environment(repository):
    """Built once; set up again where the tree holds what was made there; removed by a failure."""
    places = Places(repository)
    folder = places.have("touch generated.py").venv.parent
    note = folder / "complete.json"
    assert Path(places.side.equipped(folder / "venv", ()).python).exists()
    assert json.loads(note.read_text()) == {"again": True}, "the next tree will lack what was generated in this one"
    places.have("true")
    assert json.loads(note.read_text()) == {"again": False}, "it was there before"
    places.have("touch again")
    assert not (repository.path / "again").exists(), "it was at hand"

    note.write_text('{"again": true}')
    (repository.path / "shop.so").touch()
    places.have("touch again")
    assert (repository.path / "again").exists()
    assert json.loads(note.read_text()) == {"again": True}

    with pytest.raises(SettingsError) as failure:
        places.have("echo no such compiler; exit 3")
    said = str(failure.value)
    assert all(part in said for part in ("candidate side", "echo no such compiler", "status 3", "  no such compiler\n"))
    assert "[tool.supervm.live]" in said
    assert not folder.exists(), "half an environment is none"


def test_what_a_killed_run_was_building_is_ended_removed_and_named_by_the_next(repository):
    folder = environment._environments() / "half"
    folder.mkdir(parents=True)
    sleeper = subprocess.Popen(["sleep", "600"], process_group=0)
    (folder / "builder.json").write_bytes(msgspec.json.encode(checkout.owner(sleeper.pid)))
    with environment._held(folder):
        side = Places(repository).side
        with environment.equipped(side, side, None, print) as sides:
            assert sides.notes == [], "somebody is still building it"
    with environment.equipped(side, side, None, print) as sides:
        assert sides.notes == [f"an earlier run was killed while it built {folder}: it was removed"]
    assert sleeper.wait(10) == -signal.SIGKILL
    assert not folder.exists()


@pytest.mark.usefixtures("repository")
def test_an_environment_that_is_in_use_is_waited_for_and_not_removed(monkeypatch):
    folder = environment._environments() / "one"
    monkeypatch.setattr(environment, "PATIENCE", 0.2)
    monkeypatch.setattr(environment, "KEPT", 0)
    with environment._held(folder):
        (folder / "complete.json").touch()
        environment._prune()
        assert folder.exists()
        with pytest.raises(SettingsError, match="another process has held"), environment._held(folder):
            pass
    environment._prune()
    assert not folder.exists()
    with environment._held(folder):
        assert list(folder.iterdir()) == []


@pytest.mark.usefixtures("repository")
def test_the_environments_used_last_are_kept():
    for number in range(environment.KEPT + 2):
        note = environment._environments() / str(number) / "complete.json"
        note.parent.mkdir(parents=True)
        note.touch()
        os.utime(note, (number, number))
    environment._prune()
    kept = {folder.name for folder in environment._environments().iterdir()}
    assert kept == {str(number) for number in range(2, environment.KEPT + 2)}


FULL = """
[build-system]
requires = ["a"]
[project]
name = "shop"
version = "1"
description = "x"
dependencies = ["b"]
[project.optional-dependencies]
test = ["c"]
[dependency-groups]
dev = ["d"]
[tool.poetry.dependencies]
e = "1"
[tool.black]
line-length = 80
"""
SETUP = "[metadata]\nname = shop\n[options]\ninstall_requires = f\n[flake8]\nignore = E1\n"


@pytest.mark.parametrize("word", ["a", "b", "c", "d", "e"])
def test_what_is_needed_hangs_on_every_table_that_names_it(tmp_path, word):
    (tmp_path / "pyproject.toml").write_text(FULL)
    before = needs.of_folder(tmp_path)
    changed = FULL.replace("e =", "z =") if word == "e" else FULL.replace(f'["{word}"]', '["z"]')
    (tmp_path / "pyproject.toml").write_text(changed)
    assert needs.of_folder(tmp_path) != before


@pytest.mark.parametrize(
    ("name", "text", "changed"),
    [
        ("pyproject.toml", FULL, FULL.replace('"1"\ndesc', '"2"\ndesc').replace("80", "120")),
        ("pyproject.toml", "", "[tool.black]\nline-length = 80\n"),
        ("setup.cfg", SETUP, SETUP.replace("E1", "E2")),
        ("requirements.md", "b", "c"),
    ],
)
def test_what_is_needed_does_not_hang_on_versions_and_tools(tmp_path, name, text, changed):
    (tmp_path / name).write_text(text)
    before = needs.of_folder(tmp_path)
    (tmp_path / name).write_text(changed)
    assert needs.of_folder(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("setup.cfg", SETUP),
        ("setup.py", ""),
        ("requirements-dev.txt", "b"),
        ("requirements/ci.txt", ""),
        ("uv.lock", ""),
    ],
)
def test_other_files_that_say_what_is_needed_are_known(tmp_path, name, text):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    assert list(needs.of_folder(tmp_path)) == [name]


@pytest.mark.parametrize(
    ("files", "differing", "command"),
    [
        (["setup.py"], ["setup.py"], "python -m pip install -e ."),
        (["setup.py", "a b.txt"], ["setup.py", "a b.txt", "gone.txt"], "python -m pip install -e . -r 'a b.txt'"),
        (["requirements.txt"], ["requirements.txt"], "python -m pip install -r requirements.txt"),
        (["Pipfile.lock"], ["Pipfile.lock"], None),
    ],
)
def test_a_side_is_installed_by_what_it_has(tmp_path, files, differing, command):
    for name in files:
        (tmp_path / name).touch()
    assert needs.default_command(tmp_path, tmp_path, differing) == command


@pytest.mark.parametrize(
    ("file", "copied"),
    [("shop/__init__.py", True), ("shop.abi3.so", True), ("__editable___shop_finder.py", False), ("shop.pth", False)],
)
def test_a_copy_of_the_project_is_told_from_the_way_to_it(repository, tmp_path, monkeypatch, file, copied):
    repository.write("pyproject.toml", "[project]\nname = 'shop'\n")
    about = tmp_path / "shop-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: shop\nVersion: 1\n")
    (about / "RECORD").write_text(f"{file},,\n")
    monkeypatch.setattr(environment, "_site_packages", lambda _: str(tmp_path))
    assert environment._copied(Places(repository).side) == copied


def test_an_environment_too_old_for_the_laboratory_is_refused(repository, tmp_path, monkeypatch):
    about = tmp_path / "pytest-7.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: pytest\nVersion: 7.0\n")
    monkeypatch.setattr(environment, "_site_packages", lambda _: str(tmp_path))
    with pytest.raises(SettingsError, match=r"has pytest 7\.0, and pytest-supervm.*needs pytest>=8"):
        environment._check(Places(repository).side)


@pytest.mark.parametrize(
    "table", ["live = 1", "live = { instal = 'x' }", "live = { install = 1 }", "live = { install = '' }"]
)
def test_an_unusable_live_table_is_refused(tmp_path, table):
    (tmp_path / "pyproject.toml").write_text(f"[tool.supervm]\n{table}\n")
    with pytest.raises(SettingsError, match="live"):
        read_file(tmp_path / "pyproject.toml")
