"""Where the other side comes from: a git worktree of the merge base, outside the checkout, that leaves no trace.

The merge base of HEAD and the ref is compared, never the ref's tip, which would charge a branch for others' work. The
path of the worktree is exactly as long as that of the checkout, for lengths of paths shift what a process has in
memory, and layout alone can change speed by percents (T. Mytkowicz et al., "Producing wrong data without doing
anything obviously wrong!", ASPLOS 2009). Hooks are off: they are written for people's checkouts.

What a duel creates is written down first, in a file in the repository's git folder with the process id, its start and
the boot id. Whatever ends the run, even SIGKILL, the next one finds the file, sees that nobody owns it any more, and
removes what it names.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import psutil

from pytest_supervm.settings import SettingsError

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
SHORTEST_NAME = 3
LONGEST_NAME = 200
"""Characters in the name of a worktree's folder: enough not to collide, and no more than file systems bear."""

LFS_POINTER = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True, slots=True)
class Opponent:
    """What the working tree is compared with.

    Attributes
    ----------
    ref
        As the user named it.
    commit
        The merge base of HEAD and `ref`.
    top
        The checkout.
    home
        The repository's git folder, shared by all its worktrees.
    what
        What people call `commit`.
    """

    ref: str
    commit: str
    top: Path
    home: Path
    what: str = "the merge base"


@dataclass(frozen=True, slots=True)
class Ground:
    """Where a duel takes place: the worktree, a folder for scratch, and sentences about what is unlike or was left."""

    tree: Path
    scratch: Path
    notes: list[str] = field(default_factory=list)


class Owner(msgspec.Struct):
    """A process, told from any other that will ever have its id."""

    pid: int
    started: float
    boot: str

    def owned(self) -> bool:
        """Tell whether the process still runs."""
        try:
            return self.boot == _boot() and psutil.Process(self.pid).create_time() == self.started
        except psutil.Error:
            return False


def owner(pid: int) -> Owner:
    """Describe a running process."""
    return Owner(pid, psutil.Process(pid).create_time(), _boot())


class Marker(Owner):
    """Who made which folders."""

    tree: str
    scratch: str


def find(root: Path, ref: str) -> Opponent:
    """Find the merge base of HEAD and `ref`.

    Raises
    ------
    SettingsError
        There is no git, no checkout, no such ref or no merge base; the message says what would help.
    """
    asked = f"--supervm-baseline=git:{ref}"
    try:
        top, home = _places(root)
    except GitError as error:
        raise SettingsError(f"{asked}: {root} is not in a git checkout ({error})") from None
    deeper = _deeper(root)
    for name in (ref, "HEAD"):
        if not is_commit(root, name):
            hint = deeper or f" Fetch it first, or name another: {', '.join(_branches(root)) or 'none yet'}"
            raise SettingsError(f"{asked}: {name!r} is no commit here.{hint}")
    try:
        commit = _git(root, "merge-base", "HEAD", ref)
    except GitError:
        hint = deeper or " Their histories have nothing in common"
        raise SettingsError(f"{asked}: HEAD and {ref!r} have no merge base.{hint}") from None
    return Opponent(ref, commit, top, home)


def at(root: Path, commit: str) -> Opponent:
    """Take a commit itself for the opponent.

    Raises
    ------
    SettingsError
        There is no git, no checkout, or no such commit in it; the message says what would help.
    """
    try:
        top, home = _places(root)
    except GitError as error:
        raise SettingsError(f"{root} is not in a git checkout ({error})") from None
    if not is_commit(root, commit):
        raise SettingsError(f"the commit {commit[:7]} is not in this clone.{_deeper(root)}")
    return Opponent(commit[:7], commit, top, home, "the commit")


def is_commit(root: Path, name: str) -> bool:
    """Tell whether git knows a commit by that name."""
    try:
        _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    except GitError:
        return False
    return True


def content(opponent: Opponent, path: Path) -> bytes | None:
    """Return what a file of the checkout holds at the opponent's commit; None where it was not there."""
    try:
        return _git_bytes(opponent.top, "show", f"{opponent.commit}:{path.relative_to(opponent.top).as_posix()}")
    except (GitError, ValueError):
        return None


def _places(root: Path) -> tuple[Path, Path]:
    """Return the top of the checkout and the git folder that all its worktrees share."""
    top = Path(_git(root, "rev-parse", "--show-toplevel"))
    return top, Path(_git(root, "rev-parse", "--path-format=absolute", "--git-common-dir"))


def _deeper(root: Path) -> str:
    """Say how to fetch what a shallow clone lacks; nothing where this is none."""
    if _git(root, "rev-parse", "--is-shallow-repository") != "true":
        return ""
    return (
        " This clone is shallow: fetch the whole history, with `git fetch --unshallow`, or with `fetch-depth: 0` for "
        "actions/checkout"
    )


@contextlib.contextmanager
def checkout(opponent: Opponent) -> Iterator[Ground]:
    """Check the opponent out; leaving the context removes all of it."""
    registry = opponent.home / "supervm"
    swept = list(sweep(opponent.home, registry))
    place = _place(opponent.top)
    scratch = Path(tempfile.gettempdir()) / f"supervm-duel-{secrets.token_hex(4)}"
    marker = Marker(os.getpid(), psutil.Process().create_time(), _boot(), str(place), str(scratch))
    registry.mkdir(exist_ok=True)
    note = registry / f"{place.name}.json"
    draft = note.with_suffix(f".{os.getpid()}")
    try:
        draft.write_bytes(msgspec.json.encode(marker))
        draft.replace(note)
        scratch.mkdir(mode=0o700)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            _git(opponent.top, "worktree", "add", "--quiet", "--detach", str(place), opponent.commit)
        except GitError as error:
            raise SettingsError(f"git cannot check out {opponent.what} {opponent.commit[:7]}: {error}") from None
        yield Ground(place, scratch, [*swept, *_differences(opponent, place)])
    finally:
        _remove(opponent.home, marker, note)


def sweep(home: Path, registry: Path) -> Iterator[str]:
    """Remove what earlier runs left when they were killed, and name it."""
    for draft in registry.glob("*.[0-9]*"):
        if not psutil.pid_exists(int(draft.suffix[1:])):
            draft.unlink(missing_ok=True)  # killed before anything else was created
    for note in sorted(registry.glob("*.json")):
        marker = msgspec.json.decode(note.read_bytes(), type=Marker)
        if not marker.owned():
            _remove(home, marker, note)
            yield f"an earlier run (process {marker.pid}) was killed and left {marker.tree}: it was removed"


def _remove(home: Path, marker: Marker, note: Path) -> None:
    shutil.rmtree(marker.tree, ignore_errors=True)
    shutil.rmtree(marker.scratch, ignore_errors=True)
    with contextlib.suppress(GitError):
        _git(home, "worktree", "prune")
    if not Path(marker.tree).exists():
        note.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            note.parent.rmdir()


def cache() -> Path:
    """Return the laboratory's folder in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pytest-supervm"


def unknown_files(tree: Path) -> list[str]:
    """Return the files in a checkout that git does not know, ignored ones included."""
    with contextlib.suppress(GitError):
        return [name for name in _git(tree, "ls-files", "-z", "--others").split("\0") if name]
    return []


def _place(top: Path) -> Path:
    """Return a free path as long as `top` in the user's cache, a temporary folder, or where it fits.

    It is the same in every run, unless another is at work, for what is installed there may remember the place.
    """
    length = len(str(top))
    folders = [folder for folder in (cache(), Path(tempfile.gettempdir()), Path("/tmp")) if top not in folder.parents]
    for folder in folders:
        if SHORTEST_NAME <= (room := length - len(str(folder)) - 1) <= LONGEST_NAME:
            break
    else:
        folder, room = folders[-1], SHORTEST_NAME + 5
    names = (hashlib.shake_128(f"{top}:{number}".encode()).hexdigest(room)[:room] for number in itertools.count())
    return next(place for place in map(folder.joinpath, names) if not place.exists())


def _differences(opponent: Opponent, tree: Path) -> Iterator[str]:
    """Say in what the worktree is unlike a checkout that people made."""
    if len(str(tree)) != len(str(opponent.top)):
        yield f"{opponent.what} lies in {tree}, a path of another length than {opponent.top}: speed may depend on that"
    with contextlib.suppress(GitError):
        absent = [line.split()[1] for line in _git(tree, "submodule", "status").splitlines() if line.startswith("-")]
        if absent:
            yield f"{opponent.what} is compared without its submodules {', '.join(absent)}: git did not check them out"
    pointers = [name for name in _lfs_files(tree) if _starts(tree / name, LFS_POINTER)]
    if pointers:
        shown = f"{', '.join(pointers[:3])}{', ...' if len(pointers) > 3 else ''}"
        yield f"of {opponent.what}, only pointers to files in Git LFS are here ({shown}): run `git lfs fetch --all`"


def _lfs_files(tree: Path) -> list[str]:
    attributes = tree / ".gitattributes"
    if not attributes.exists() or "filter=lfs" not in attributes.read_text(errors="replace"):
        return []
    return [name for name in _git(tree, "ls-files", "-z", ":(attr:filter=lfs)").split("\0") if name]


def _starts(path: Path, prefix: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(prefix)) == prefix
    except OSError:
        return False


def _branches(root: Path) -> Sequence[str]:
    names = _git(root, "for-each-ref", "--format=%(refname:short)", "--count=8", "refs/heads", "refs/remotes")
    return names.splitlines()


@functools.cache
def _boot() -> str:
    """Return what tells this boot from others: a process id means nothing after the next."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return str(int(psutil.boot_time()))


class GitError(Exception):
    """A git command failed: what it said last."""


@functools.cache
def _environment() -> dict[str, str]:
    """Return the environment for git: without what a hook around this run says about its own repository."""
    own = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY")
    return {name: value for name, value in os.environ.items() if name not in own} | {"LC_ALL": "C"}


def run_git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run git in a folder, without hooks and in English.

    Raises
    ------
    GitError
        There is no git.
    """
    done = _run(folder, *arguments)
    said, complained = os.fsdecode(done.stdout), done.stderr.decode(errors="replace")
    return subprocess.CompletedProcess(done.args, done.returncode, said, complained)


def _git(folder: Path, *arguments: str) -> str:
    return os.fsdecode(_git_bytes(folder, *arguments)).strip()


def _git_bytes(folder: Path, *arguments: str) -> bytes:
    done = _run(folder, *arguments)
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().splitlines()
        raise GitError((words or [f"git {arguments[0]} failed"])[-1])
    return done.stdout


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = ["git", "-C", str(folder), "-c", "core.hooksPath=/dev/null", *arguments]
    try:
        return subprocess.run(command, capture_output=True, env=_environment(), stdin=subprocess.DEVNULL)
    except OSError as error:
        raise GitError(f"git cannot be run: {error}") from None
