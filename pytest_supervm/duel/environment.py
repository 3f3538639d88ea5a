"""What each side's Python is: as a rule the one that pytest runs in, else an environment of the side's own.

One environment can serve both sides as long as all that differs is sources, which each side has first on its path. It
cannot where the files that say what a project needs differ, nor where a project must be built before it can be
imported. Then each side gets a virtual environment of the same interpreter, in which a command is run in the side's
tree: the one in ``[tool.supervm.live]``, or what pip makes of the files that differ. Both sides get one or neither, for
only so are they alike. What a side's own environment lacks (the laboratory, pytest, its plugins, perhaps what only
tests need) is borrowed from the one that pytest runs in, last on the path and without its ``.pth`` files, so that what
the command installed wins and editable copies stay out.

Environments are kept in the user's cache, by a hash of all that shapes them: the interpreter, the command, the
contents of the files that say what is needed, and the side's place, which editable installations have inside. The
place of the merge base is the same in every run for that reason. Where the command left something in the tree that
has to be built (an extension module, a generated file), or copied the project's own modules into the environment, the
environment alone is not enough and the command is run again each time, in an environment that has the rest already.

An environment is complete once its note is written, last of all. Whoever builds or uses one holds a `flock` on its
folder. What is incomplete though nobody holds it was left by a run that was killed: it is removed, and named.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import importlib.machinery
import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from pytest_supervm.duel import needs
from pytest_supervm.duel.checkout import Owner, cache, owner, unknown_files
from pytest_supervm.measure import provenance
from pytest_supervm.settings import SettingsError

if TYPE_CHECKING:
    from pytest_supervm.duel.match import Side

KEPT: Final = 8
"""Environments that stay in the cache, the last ones used: both sides of the last few duels."""

LAST_LINES: Final = 12
"""Lines of a failed command's output that its error quotes."""

PATIENCE: Final = 600.0
"""Seconds to wait while another process builds or uses an environment."""

LOOKS_EVERY: Final = 0.1

BUILT_SUFFIXES: Final = tuple(importlib.machinery.EXTENSION_SUFFIXES)


class Note(msgspec.Struct):
    """What is known about a complete environment: whether each use needs the command anew."""

    again: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Equipped:
    """Both sides as they are run, the candidate's own packages, and sentences about how the sides were set up."""

    candidate: Side
    baseline: Side
    packages: Mapping[str, str] = dataclasses.field(default_factory=dict)
    notes: Sequence[str] = ()


@contextlib.contextmanager
def equipped(candidate: Side, baseline: Side, install: str | None, tell: Callable[[str], None]) -> Iterator[Equipped]:
    """Give each side an environment of its own where one cannot serve both, and keep it while the context lasts.

    Parameters
    ----------
    candidate, baseline
        As they run in this environment.
    install
        The command of ``[tool.supervm.live]``.
    tell
        Told what takes long.

    Raises
    ------
    SettingsError
        The command fails, or what it installs is too old for the laboratory.
    """
    notes = list(_sweep())
    after, before = (needs.of_folders({side.root, side.top}, side.top) for side in (candidate, baseline))
    differing = sorted(name for name in {*after, *before} if after.get(name) != before.get(name))
    if install is None and not differing:
        yield Equipped(candidate, baseline, notes=notes)
        return
    commands = [install or needs.default_command(side.root, side.top, differing) for side in (candidate, baseline)]
    if None in commands:
        notes.append(
            f"{_unlike(differing)}, and both sides run in this environment: to have one built for each, set install in "
            f"[tool.supervm.live]"
        )
        yield Equipped(candidate, baseline, notes=notes)
        return
    why = f"each side has an environment of its own, made by {install}" if install else _why(differing, commands[0])
    notes.append(why)
    shape = [sys.version, sys.base_prefix, sysconfig.get_platform(), commands, after, before]
    with contextlib.ExitStack() as stack:
        sides = [
            stack.enter_context(_own(side, str(command), shape, tell))
            for side, command in zip((candidate, baseline), commands, strict=True)
        ]
        ours, theirs = map(_packages, sides)
        if changed := _changes(theirs, ours, {name for side in sides for name in side.distributions}):
            notes.append(f"what is installed differs between the sides: {changed}")
        _prune()
        yield Equipped(sides[0], sides[1], ours, notes)


@contextlib.contextmanager
def _own(side: Side, command: str, shape: Sequence[object], tell: Callable[[str], None]) -> Iterator[Side]:
    """Return the side in an environment of its own, built where it is not at hand."""
    folder = _folder(side, shape)
    own = side.equipped(folder / "venv", _borrowed())
    with _held(folder):
        complete = folder / "complete.json"
        note = msgspec.json.decode(complete.read_bytes(), type=Note) if complete.exists() else None
        if note is None:
            _clear(folder)  # whoever was building it while this process waited has been killed
        if note is None or note.again:
            tell(f"supervm: setting up the {side.name} side: {command}")
            complete.unlink(missing_ok=True)
            try:
                if note is None:
                    _run([sys.executable, "-m", "venv", str(folder / "venv")], side, folder)
                before = _importable(side.top)
                _run(["/bin/sh", "-c", command], own, folder)
                _check(own)
                again = _copied(own) or any(
                    name not in before or name.endswith(BUILT_SUFFIXES) for name in _importable(side.top)
                )
            except BaseException:
                _remove(folder)
                raise
            draft = folder / "complete.draft"
            draft.write_bytes(msgspec.json.encode(Note(again)))
            draft.replace(complete)
        os.utime(complete)
        yield own


def _run(command: Sequence[str], side: Side, folder: Path) -> None:
    """Run a command in the side's tree; the next run ends it, if this one is killed."""
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=side.root,
            env={name: value for name, value in side.environment.items() if name not in ("PYTHONPATH", "PYTHONHOME")},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
        try:
            (folder / "builder.json").write_bytes(msgspec.json.encode(owner(process.pid)))
            process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    (folder / "builder.json").unlink()
    if process.returncode:
        said = log.read_text(errors="replace").strip().splitlines()[-LAST_LINES:]
        raise SettingsError(
            f"the {side.name} side cannot be set up: in {side.root}, the command\n"
            f"  {command[-1] if command[0] == '/bin/sh' else ' '.join(command)}\n"
            f"failed with exit status {process.returncode}:\n" + "\n".join(f"  {line}" for line in said) + "\n"
            "Set the command that installs the project in [tool.supervm.live] of pyproject.toml, such as "
            'install = "pip install -e \'.[test]\'"; install = "true" installs nothing, and both sides borrow all '
            "from this environment"
        )


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold an environment's folder for this process alone, waiting until it is free."""
    end = time.monotonic() + PATIENCE
    while True:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked(folder) as got:
            if got:
                yield
                return
        if time.monotonic() > end:
            raise SettingsError(
                f"another process has held the environment {folder} for {PATIENCE:g} s: wait for its end, or remove "
                f"that folder"
            )
        time.sleep(LOOKS_EVERY)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Try to lock a folder, and tell whether that worked; what was removed meanwhile is no longer the folder."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            got = os.path.samestat(os.fstat(fd), folder.stat())
        except OSError:
            got = False
        yield got
    finally:
        os.close(fd)


def _clear(folder: Path) -> None:
    """Empty a folder that is held, and end what a killed run left at work in it."""
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        builder = msgspec.json.decode((folder / "builder.json").read_bytes(), type=Owner)
        if builder.owned():
            os.killpg(builder.pid, signal.SIGKILL)
    for entry in folder.iterdir():
        shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink()


def _remove(folder: Path) -> None:
    _clear(folder)
    with contextlib.suppress(OSError):  # something in it belongs to somebody else, or is just being written
        folder.rmdir()


def _sweep() -> Iterator[str]:
    """Remove the environments that earlier runs did not complete, and name them."""
    for folder in sorted(_environments().glob("*/")):
        with _locked(folder) as got:
            if got and not (folder / "complete.json").exists():
                _remove(folder)
                yield f"an earlier run was killed while it built {folder}: it was removed"


def _prune() -> None:
    """Remove all but the environments used last; one that is in use stays."""
    complete = sorted(_environments().glob("*/complete.json"), key=lambda note: note.stat().st_mtime, reverse=True)
    for note in complete[KEPT:]:
        with _locked(note.parent) as got:
            if got:
                note.unlink()
                _remove(note.parent)


def _check(side: Side) -> None:
    """Refuse an environment in which the laboratory cannot work."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    versions = {canonicalize_name(name): version for name, version in _packages(side).items()}
    try:
        wanted = [Requirement(line) for line in importlib.metadata.requires("pytest-supervm") or ()]
    except importlib.metadata.PackageNotFoundError:  # run from its sources: nobody knows
        return
    for needed in wanted:
        version = versions.get(canonicalize_name(needed.name))
        applies = needed.marker is None or needed.marker.evaluate({"extra": ""})
        if applies and version and not needed.specifier.contains(version, prereleases=True):
            raise SettingsError(
                f"the {side.name} side's environment has {needed.name} {version}, and pytest-supervm, which runs in "
                f"it, needs {needed}: leave {needed.name} out of what [tool.supervm.live] installs, or ask for that"
            )


def _importable(top: Path) -> set[str]:
    """Return the modules in a tree that git does not know."""
    suffixes = (".py", *BUILT_SUFFIXES)
    return {name for name in unknown_files(top) if name.endswith(suffixes) and "site-packages" not in name}


def _copied(side: Side) -> bool:
    """Tell whether the environment has modules of the project itself, not just the way to them."""
    return any(
        file.name.endswith((".py", *BUILT_SUFFIXES))
        for name in side.distributions
        for found in importlib.metadata.distributions(name=name, path=[_site_packages(side)])
        for file in found.files or ()
        if not file.name.startswith("__editable__")
    )


def _environments() -> Path:
    return cache() / "environments"


def _folder(side: Side, shape: Sequence[object]) -> Path:
    """Return where a side's environment is kept.

    What shapes one side's shapes the other's too: they are built in one run, when the index offers both the same.
    """
    text = json.dumps([*shape, str(side.root)], sort_keys=True)
    return _environments() / hashlib.sha256(text.encode()).hexdigest()[:24]


def _borrowed() -> list[str]:
    """Return the folders of this environment's packages."""
    return [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]


def _site_packages(side: Side) -> str:
    return sysconfig.get_path("purelib", "venv", {"base": str(side.venv), "platbase": str(side.venv)})


def _packages(side: Side) -> dict[str, str]:
    return provenance.packages([_site_packages(side)])


def _why(differing: Sequence[str], command: str | None) -> str:
    unread = [name for name in differing if name.endswith(".lock") or Path(name).name.startswith("pylock")]
    also = f", which does not read {_listed(unread)}" if unread else ""
    return (
        f"{_unlike(differing)}, so each side has an environment of its own, made by {command}{also}: to have another "
        f"command, set install in [tool.supervm.live]"
    )


def _changes(before: Mapping[str, str], after: Mapping[str, str], own: set[str]) -> str:
    """Say which packages differ, without the project itself."""
    changed = [
        f"{name} {before.get(name, 'absent')} -> {after.get(name, 'absent')}"
        for name in sorted({*before, *after} - own)
        if before.get(name) != after.get(name)
    ]
    return _listed(changed)


def _listed(names: Sequence[str]) -> str:
    return ", ".join([*names[:5], *(["..."] if len(names) > 5 else [])])


def _unlike(names: Sequence[str]) -> str:
    return f"{_listed(names)} {'differs' if len(names) == 1 else 'differ'} between the sides"
