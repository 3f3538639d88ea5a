"""Where modules came from: a copy that is installed is noticed, in whatever way it stands before a side's own tree."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path, PurePosixPath

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_supervm.duel.match import Side, refuse_unbuilt
from pytest_supervm.duel.origins import in_folder, in_record
from pytest_supervm.settings import SettingsError

from .test_duel import BRIEF

LOOK = """
import json, msgspec, sys
from pytest_supervm.duel.origins import Origins
from pytest_supervm.duel.wire import Brief
origins = Origins(msgspec.json.decode(sys.argv[1], type=Brief))
origins()
import {module}
print(json.dumps(origins()))
"""

FINDER = """
import importlib.util, sys

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "shop":
            return importlib.util.spec_from_file_location(name, {init!r}, submodule_search_locations=[])

sys.meta_path.insert(0, Finder)
"""


class Sides:
    """Two trees, and what is installed in the environment that they share."""

    def __init__(self, folder: Path) -> None:
        self.here, self.there, self.installed = folder / "here", folder / "there", folder / "site-packages"
        for place in (self.here, self.there, self.installed, folder / "start"):
            place.mkdir()
        self.start = folder / "start" / "sitecustomize.py"
        self.start.write_text(f"import site; site.addsitedir({str(self.installed)!r})")

    @staticmethod
    def write(folder: Path, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = folder / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def record(self, *files: str, origin: Path | None = None, name: str = "shop") -> None:
        """Write the metadata of an installed distribution."""
        about = self.installed / f"{name}-1.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        (about / "RECORD").write_text("".join(f"{file},,\n" for file in files))
        if origin is not None:
            (about / "direct_url.json").write_text(json.dumps({"url": origin.as_uri(), "dir_info": {}}))

    def look(self, module: str = "shop", *sources: str, venv: Path | None = None) -> tuple[dict[str, str], list[str]]:
        """Import a module on this side, and return what was noticed."""
        folders = [str(self.here / source) for source in sources or ("",)]
        brief = {
            "type": "Brief",
            "args": [],
            "tree": str(self.here),
            "other": str(self.there),
            "sources": folders,
            "block": 1,
            "metrics": {},
            "venv": str(venv or ""),
            "distributions": ["shop"],
        }
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*folders, str(self.start.parent)])}
        command = [sys.executable, "-c", LOOK.format(module=module), json.dumps(brief)]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, cwd=self.start.parent
        )
        strays, built = json.loads(done.stdout)
        return strays, built


@pytest.fixture
def sides(tmp_path: Path) -> Sides:
    """Two empty trees and nothing installed."""
    return Sides(tmp_path)


def test_what_lies_in_the_tree_is_no_stray_whatever_is_installed(sides):
    sides.write(sides.here, {"src/shop/__init__": "import shop.till", "src/shop/till": ""})
    sides.write(sides.installed, {"shop/__init__": ""})
    sides.record("shop/__init__.py", origin=sides.there)
    assert sides.look("shop", "src") == ({}, [])


def test_an_editable_copy_by_a_pth_file_is_a_stray(sides):
    sides.write(sides.here, {"lib/shop": ""})
    sides.write(sides.there, {"lib/shop": ""})
    (sides.installed / "shop.pth").write_text(str(sides.there / "lib"))
    assert list(sides.look()[0]) == ["shop"]


def test_an_editable_copy_by_an_import_hook_is_a_stray_even_before_the_sources(sides):
    sides.write(sides.here, {"shop/__init__": ""})
    sides.write(sides.there, {"shop/__init__": ""})
    sides.write(sides.installed, {"shop_finder": FINDER.format(init=str(sides.there / "shop" / "__init__.py"))})
    (sides.installed / "shop.pth").write_text("import shop_finder")
    assert list(sides.look()[0]) == ["shop"]


@pytest.mark.parametrize("told", ["by its name", "by its note"])
def test_an_installed_copy_is_a_stray_where_the_sources_are_not_on_the_path(sides, told):
    sides.write(sides.here, {"python/shop/__init__": ""})
    sides.write(sides.installed, {"shop/__init__": ""})
    if told == "by its name":
        sides.record("shop/__init__.py")
    else:
        sides.record("shop/__init__.py", origin=sides.there, name="other")
    (strays, _) = sides.look()
    assert list(strays) == ["shop"]
    assert "site-packages" in strays["shop"]


def test_what_the_side_itself_installed_in_its_own_environment_is_right(sides):
    sides.write(sides.installed, {"shop/__init__": ""})
    sides.record("shop/__init__.py", origin=sides.here)
    assert list(sides.look()[0]) == ["shop"]
    assert sides.look(venv=sides.installed) == ({}, [])


def test_a_copy_of_the_other_sides_in_its_own_environment_is_a_stray(sides):
    sides.write(sides.installed, {"shop/__init__": ""})
    sides.record("shop/__init__.py", origin=sides.there)
    assert list(sides.look(venv=sides.installed)[0]) == ["shop"]


def test_an_installed_package_in_place_of_a_namespace_in_the_sources_is_a_stray(sides):
    sides.write(sides.here, {"src/company/team/shop/__init__": ""})
    sides.write(
        sides.installed, {"company/__init__": "", "company/team/__init__": "", "company/team/shop/__init__": ""}
    )
    assert list(sides.look("company.team.shop", "src")[0]) == ["company.team.shop"]


def test_a_neighbour_in_the_namespace_is_none_of_the_projects(sides):
    sides.write(sides.here, {"src/company/shop/__init__": ""})
    sides.write(sides.installed, {"company/other/__init__": ""})
    sides.record("company/other/__init__.py", name="company.other")
    assert sides.look("company.other", "src") == ({}, [])


def extension() -> Path:
    """An extension module that can be imported under any package's name."""
    return next(Path(psutil.__file__).parent.glob("_psutil_*.so"))


def test_extension_modules_of_the_tree_are_told(sides):
    built = extension()
    name = built.name.partition(".")[0]
    sides.write(sides.here, {"shop/__init__": f"import shop.{name}"})
    (sides.here / "shop" / built.name).write_bytes(built.read_bytes())
    assert sides.look() == ({}, [f"shop/{built.name}"])


def test_a_built_extension_module_that_the_merge_base_does_without_is_a_usage_error(repository):
    built = extension()
    fallback = f"try:\n    import shop.{built.name.partition('.')[0]}\nexcept ImportError:\n    pass\n"
    repository.write("shop/__init__.py", fallback)
    repository.write(".gitignore", "*.so\n__pycache__\n")
    repository.edit("test_sample.py", "import time", "import time, shop")
    repository.commit()
    repository.git("branch", "--force", "main")
    (repository.path / "shop" / built.name).write_bytes(built.read_bytes())
    result = repository.run(*BRIEF)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [f"*the baseline side lacks*shop/{built.name}*", "*[[]tool.supervm.live]*", "*install =*"]
    )
    assert repository.traces() == []


@pytest.mark.parametrize(
    ("own", "built_there", "refused"),
    [
        (False, None, True),
        (False, "shop/b.so", True),
        (False, "shop/a.so", False),
        (True, None, True),
        (True, "shop/b.so", False),
        (True, "shop/a.so", False),
    ],
)
def test_an_extension_module_is_new_only_where_the_merge_base_was_built_too(sides, own, built_there, refused):
    tree = sides.there
    baseline = Side("baseline", tree, tree, tree, (), tree, {}, venv=tree if own else None)
    if built_there:
        (tree / built_there).parent.mkdir()
        (tree / built_there).touch()
    with pytest.raises(SettingsError, match=r"lacks.*shop/a\.so") if refused else contextlib.nullcontext():
        refuse_unbuilt(baseline, ["shop/a.so"])


names = st.sampled_from(["a", "b", "c"])
modules = st.sets(st.lists(names, min_size=1, max_size=3).map(tuple), min_size=1, max_size=8)


@given(modules=modules, packages=st.sets(st.lists(names, min_size=1, max_size=2).map(tuple)))
def test_a_record_names_what_the_folder_holds(tmp_path_factory, modules, packages):
    """What is installed is named as the same files are in a source folder, wherever packages begin."""
    files = {PurePosixPath(*parts).with_suffix(".py") for parts in modules}
    files |= {PurePosixPath(*parts, "__init__.py") for parts in packages}
    folder = tmp_path_factory.mktemp("tree")
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    assert set(in_record(files)) == set(in_folder(folder))
