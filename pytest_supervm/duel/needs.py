"""What a project says that it needs: the files that a change of dependencies would change, comparable as text.

Of ``pyproject.toml`` and ``setup.cfg`` only the tables count that decide what is installed: a new version, another
description or the settings of a tool need no other environment.
"""

from __future__ import annotations

import configparser
import hashlib
import json
import os
import shlex
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

WHOLE_FILES: Final = (
    "setup.py",
    "requirements*.txt",
    "requirements/*.txt",
    "Pipfile",
    "Pipfile.lock",
    "pdm.lock",
    "poetry.lock",
    "pylock*.toml",
    "uv.lock",
)
"""Files that say what a project needs and nothing else."""

PROJECT_KEYS: Final = (
    "dependencies",
    "dynamic",
    "entry-points",
    "gui-scripts",
    "name",
    "optional-dependencies",
    "requires-python",
    "scripts",
)
"""Keys of ``[project]`` that change what is installed; a new version or description does not."""

POETRY_KEYS: Final = ("dependencies", "dev-dependencies", "extras", "group", "plugins", "scripts")
"""Keys of ``[tool.poetry]`` that do, which stand for ``[project]`` in older projects."""


def of_folders(folders: Iterable[Path], top: Path) -> dict[str, str]:
    """Return what the files in some folders of a checkout say about what is needed, by path below its top."""
    return {
        (folder / name).relative_to(top).as_posix(): content
        for folder in folders
        for name, content in of_folder(folder).items()
    }


def of_folder(folder: Path) -> dict[str, str]:
    """Return what the files in a folder say about what its project needs, by name, comparable as text."""
    found = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for pattern in WHOLE_FILES
        for path in folder.glob(pattern)
        if path.is_file()
    }
    if table := _pyproject(folder):
        project, poetry = table.get("project", {}), table.get("tool", {}).get("poetry", {})
        said = {
            "build-system": table.get("build-system"),
            "dependency-groups": table.get("dependency-groups"),
            "project": {key: project[key] for key in PROJECT_KEYS if key in project},
            "poetry": {key: poetry[key] for key in POETRY_KEYS if key in poetry},
        }
        found["pyproject.toml"] = _as_text({key: value for key, value in said.items() if value})
    if setup := _setup_cfg(folder):
        said = {name: dict(setup[name]) for name in setup.sections() if name.partition(".")[0] == "options"}
        found["setup.cfg"] = _as_text(said)
    return {name: content for name, content in found.items() if content != "{}"}


def distributions(folder: Path) -> list[str]:
    """Return the name of the project in a folder, as its files tell it."""
    table, setup = _pyproject(folder), _setup_cfg(folder)
    names = (
        table.get("project", {}).get("name"),
        table.get("tool", {}).get("poetry", {}).get("name"),
        setup.get("metadata", "name", fallback=None) if setup else None,
    )
    return [str(name) for name in names if name]


def default_command(root: Path, top: Path, differing: Sequence[str]) -> str | None:
    """Return what installs a side without being told: the project, and the lists of requirements that differ.

    Parameters
    ----------
    root, top
        Where the command is run, and the checkout.
    differing
        Files that are not the same on both sides, by path below `top`.
    """
    table = _pyproject(root)
    wanted = ["-e ."] if {"build-system", "project"} & set(table) or (root / "setup.py").exists() else []
    lists = (top / name for name in differing if name.endswith(".txt"))
    wanted += [f"-r {shlex.quote(os.path.relpath(path, root))}" for path in lists if path.exists()]
    return f"python -m pip install {' '.join(wanted)}" if wanted else None


def _as_text(tables: dict[str, Any]) -> str:
    return json.dumps(tables, sort_keys=True, default=str)


def _pyproject(folder: Path) -> dict[str, Any]:
    """Return the tables of pyproject.toml; what cannot be read says nothing, and whoever installs it complains."""
    try:
        return tomllib.loads((folder / "pyproject.toml").read_text())
    except (OSError, ValueError):
        return {}


def _setup_cfg(folder: Path) -> configparser.ConfigParser | None:
    setup = configparser.ConfigParser(interpolation=None)
    try:
        setup.read_string((folder / "setup.cfg").read_text())
    except (OSError, ValueError, configparser.Error):
        return None
    return setup
