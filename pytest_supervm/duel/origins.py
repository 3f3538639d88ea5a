"""Where a side's modules came from: what belongs to the project must come from the side's own tree.

A module is the project's if its name, or the beginning of it up to a dot, is that of a module or package in the side's
sources; if the project brought it where it is installed, by its name or by its note of the folder that it was
installed from (``direct_url.json``, PEP 610); or if it was loaded from the other side's tree. What is installed in an
environment inside a tree does not lie in that tree.

One case is right elsewhere: a module that only exists built, in the environment of the side's own, and was installed
there from the side's tree. The command that did it has run for this very duel (see `environment`).
"""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath
from urllib.parse import unquote, urlsplit

from pytest_supervm.duel.wire import Brief

NAMESPACES = 2
"""Folders without an ``__init__`` that may lie around a package, one in the other: ``company/team/package``."""

EXTENSIONS = tuple(importlib.machinery.EXTENSION_SUFFIXES)
INSTALLED = {"site-packages", "dist-packages"}


class Origins:
    """Looks at the modules that were loaded since it last did.

    Parameters
    ----------
    brief
        What the side was told of itself and of the other.

    Attributes
    ----------
    unimportable
        Modules that could not be imported, and why.
    """

    def __init__(self, brief: Brief) -> None:
        self.brief = brief
        self.unimportable: dict[str, str] = {}
        self._looked_at: set[str] = set()
        self._own: set[str] | None = None
        self._made_here: set[str] = set()

    def __call__(self) -> tuple[dict[str, str], list[str]]:
        """Return the project's modules from elsewhere, and why; and its extension modules, as paths in the tree."""
        if self._own is None:
            self._own = set(_in_folders(self.brief.sources)) | set(self._installed())
        new = {name: module for name, module in list(sys.modules.items()) if name not in self._looked_at}
        self._looked_at |= set(new)
        strays = {name: why for name, why in self.unimportable.items() if self._is_own(name, self._own)}
        built = []
        for name, module in new.items():
            file = getattr(module, "__file__", None)
            if not isinstance(file, str) or name.partition(".")[0] == "pytest_supervm":  # the parent's, on both sides
                continue
            if lies_in(file, self.brief.tree):
                if file.endswith(EXTENSIONS):
                    built.append(str(Path(file).resolve().relative_to(Path(self.brief.tree).resolve())))
                continue
            ours = self._is_own(name, self._own) or lies_in(file, self.brief.other)
            if ours and not (self._is_own(name, self._made_here) and self._in_venv(file)):
                strays[name] = f"was loaded from {file}"
        return strays, built

    @staticmethod
    def _is_own(name: str, own: set[str]) -> bool:
        parts = name.split(".")
        return any(".".join(parts[:count]) in own for count in range(1, len(parts) + 1))

    def _in_venv(self, file: str) -> bool:
        return bool(self.brief.venv) and Path(self.brief.venv).resolve() in Path(file).resolve().parents

    def _installed(self) -> Iterator[str]:
        """Yield the modules of the project where it is installed, and note which were installed from this tree."""
        found = [one for name in set(self.brief.distributions) for one in importlib.metadata.distributions(name=name)]
        noted = {path.parent for folder in sys.path for path in Path(folder or ".").glob("*.dist-info/direct_url.json")}
        for distribution in [*found, *map(importlib.metadata.Distribution.at, noted)]:
            folder = _installed_from(distribution)
            here = folder is not None and _is_below(folder, self.brief.tree)
            there = folder is not None and _is_below(folder, self.brief.other)
            if here or there or distribution in found:
                names = set(in_record(distribution.files or ()))
                self._made_here |= names if here else set()
                yield from names


def in_record(files: Iterable[PurePath]) -> Iterator[str]:
    """Yield the packages and modules among installed files; of packages in packages, the outermost."""
    modules = [file for file in files if file.suffix == ".py" or file.name.endswith(EXTENSIONS)]
    packages = {file.parts[:-1] for file in modules if _stem(file.name) == "__init__"}
    for file in modules:
        if file.name.startswith("__editable__") or ".." in file.parts:
            continue
        outer = (file.parts[:count] for count in range(1, len(file.parts)) if file.parts[:count] in packages)
        yield ".".join(next(outer, (*file.parts[:-1], _stem(file.name))))


def lies_in(file: str, tree: str) -> bool:
    """Tell whether a file lies in a tree, and not in an environment there."""
    real = Path(file).resolve()
    return _is_below(real, tree) and not INSTALLED.intersection(real.parts)


def _in_folders(folders: Iterable[str]) -> Iterator[str]:
    for folder in folders:
        yield from in_folder(Path(folder))


def in_folder(folder: Path, prefix: str = "", depth: int = NAMESPACES) -> Iterator[str]:
    """Yield the modules and packages that lie in a folder, and in folders in it that have no ``__init__``."""
    for entry in folder.iterdir():
        name = _stem(entry.name)
        if entry.suffix == ".py" or entry.name.endswith(EXTENSIONS):
            yield prefix + name
        elif name == entry.name and name.isidentifier() and entry.is_dir():
            if next(entry.glob("__init__.*"), None):
                yield prefix + name
            elif depth and not (entry / "pyvenv.cfg").exists():
                yield from in_folder(entry, f"{prefix}{name}.", depth - 1)


def _stem(name: str) -> str:
    """Return a module's name from that of its file, which may say for which interpreter it was built."""
    return name.partition(".")[0]


def _installed_from(distribution: importlib.metadata.Distribution) -> Path | None:
    """Return the folder that a distribution was installed from, if it says so."""
    try:
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    except ValueError:
        return None
    url = urlsplit(origin.get("url", ""))
    return Path(unquote(url.path)) if "dir_info" in origin and url.scheme == "file" else None


def _is_below(path: Path, tree: str) -> bool:
    real, top = path.resolve(), Path(tree).resolve()
    return real == top or top in real.parents
