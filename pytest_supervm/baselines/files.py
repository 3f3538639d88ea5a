"""Baselines as files: ``FOLDER/NAME.jsonl``, a run a line, the newest at the end.

Text that grows at the end suits git: a diff shows the runs that were added, and with ``merge=union`` in
``.gitattributes`` two branches that both saved a run merge without a conflict. Such a merge may repeat lines or mix
their order, so order and repetition mean nothing: runs are sorted by time and id, and a run that stands there twice
counts once.

A file is never changed in place. A writer locks the folder (``flock`` on the folder itself, so that no lock file is
left behind), copies the file beside it, changes the copy, brings it to the disk (``fsync``), puts it in the place of
the file (``rename``, which is atomic on POSIX), and brings the folder to the disk. Whoever is killed on the way leaves
the old file or the new one, and perhaps a copy, which the next writer removes. Readers need no lock.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pytest_supervm.baselines import record
from pytest_supervm.baselines.store import (
    InvalidName,
    NameTaken,
    StoreUnreadable,
    StoreUnwritable,
    UnknownBaseline,
    check_name,
)
from pytest_supervm.model import Damage, History, Run

ENDING = ".jsonl"
LOCK_PATIENCE = 60.0
"""Seconds to wait for other writers. Each needs milliseconds, so one that takes longer was stopped."""

LOCK_INTERVAL = 0.01
"""Seconds between two tries to get the lock."""

_TEMPORARY = ".supervm-{}.tmp"

_REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space or have the quota raised",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f) or shorten the file with supervm baseline prune",
    errno.EACCES: "make the folder and the file writable",
    errno.EPERM: "make the folder and the file writable",
    errno.EROFS: "make the file system writable",
    errno.ENOLCK: "use a file system that can lock",
    errno.EBADF: "use a file system that can lock a folder (NFS cannot)",
    errno.ETIMEDOUT: "see which process stopped while it was writing (lsof on the folder)",
}


@dataclass(frozen=True)
class FileStore:
    """A `Store` in a folder, which is created with the first run.

    Attributes
    ----------
    folder
        Where the files are.
    shown
        The folder as messages name it.
    """

    folder: Path
    shown: Path

    def names(self) -> tuple[str, ...]:
        """Return the names of the files in the folder; see `Store.names`."""
        try:
            with os.scandir(self.folder) as entries:
                stems = (entry.name.removesuffix(ENDING) for entry in entries if _is_listed(entry))
                return tuple(sorted(stems))
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise StoreUnreadable(
                f"the store {self.shown} cannot be read: {error.strerror}: make it a readable folder, or name another "
                "store"
            ) from error

    def load(self, name: str) -> History:
        """Return the runs of the file, sorted by time and id, each once; see `Store.load`.

        A line that repeats an earlier run word for word is what a union merge leaves, and is passed over. One that
        gives the same id to other figures is damage.
        """
        path = self._path(name)
        try:
            with _opened(path) as file:
                return history(name, file, self._shown(name))
        except FileNotFoundError:
            raise UnknownBaseline(name, self.shown, self.names()) from None
        except OSError as error:
            raise StoreUnreadable(
                f"the baseline {self._shown(name)} cannot be read: {error.strerror}: make it a readable file, or name "
                "another store"
            ) from error

    def append(self, name: str, run: Run) -> None:
        """Add a line at the end of the file; see `Store.append`."""
        line = record.encode(run)
        with self._rewritten(name, create=True) as (old, new):
            shutil.copyfileobj(old, new)
            if old.tell() and (old.seek(-1, io.SEEK_END), old.read(1))[1] != b"\n":
                new.write(b"\n")  # a line that was cut off stays a line of its own
            new.write(line)

    def prune(self, name: str, keep: int) -> int:
        """Remove the lines of the oldest runs, and copy all other lines byte for byte; see `Store.prune`."""
        if keep < 1:
            raise ValueError(f"prune must keep at least one run, not {keep}")
        with self._rewritten(name, create=False) as (old, new):
            runs, _ = _read(old, self._shown(name))
            removed = set(sorted({record.when(run) for run in runs.values()})[:-keep])
            unwanted = {number for number, run in runs.items() if record.when(run) in removed}
            old.seek(0)
            for number, piece in _pieces(old):
                if number not in unwanted:
                    new.write(piece)
        return len(removed)

    def rename(self, old: str, new: str) -> None:
        """Rename the file, or the symbolic link that stands for it; see `Store.rename`."""
        source, target = self._path(old), self._path(new)
        with self._changing(old):
            self._require(old)
            with _locked(self.folder) as folder:
                self._require(old)  # again: another writer may have renamed it while we waited
                if os.path.lexists(target):
                    raise NameTaken(
                        f"{old!r} was not renamed: there is a baseline {new!r} in {self.shown} already, choose a name "
                        "that is free"
                    )
                source.rename(target)
                _confirm(folder, self._shown(new))

    def _path(self, name: str) -> Path:
        return self.folder / f"{check_name(name)}{ENDING}"

    def _shown(self, name: str) -> str:
        return str(self.shown / f"{name}{ENDING}")

    def _require(self, name: str) -> None:
        if not self._path(name).exists():
            raise UnknownBaseline(name, self.shown, self.names())

    @contextmanager
    def _changing(self, name: str) -> Iterator[None]:
        """Say what the operating system refused. Whatever raises an `OSError` inside must have changed nothing."""
        try:
            yield
        except OSError as error:
            remedy = _REMEDIES.get(error.errno or 0, "see to it and try again")
            raise StoreUnwritable(
                f"the baseline {self._shown(name)} cannot be written, and nothing was changed: {error.strerror}: "
                f"{remedy}, or name another store"
            ) from error

    @contextmanager
    def _rewritten(self, name: str, *, create: bool) -> Iterator[tuple[BinaryIO, BinaryIO]]:
        """Yield the old file and an empty one that takes its place when the block ends without an error.

        A symbolic link stays one: the file that it points to is replaced, in its own folder.
        """
        path = self._path(name)
        with self._changing(name), ExitStack() as held:
            if create:
                _make(self.folder)
            else:
                self._require(name)
            folder = held.enter_context(_locked(self.folder))
            if not create:
                self._require(name)  # again: another writer may have renamed it while we waited
            target = path
            if path.is_symlink():
                target = Path(os.path.realpath(path))
                if not target.parent.samefile(self.folder):
                    folder = held.enter_context(_locked(target.parent))
            for stale in target.parent.glob(_TEMPORARY.format("*")):
                stale.unlink(missing_ok=True)
            temporary = target.with_name(_TEMPORARY.format(secrets.token_hex(4)))
            try:
                with temporary.open("xb") as new, _opened_or_empty(target) as old:
                    _take_over(old, new)
                    yield old, new
                    new.flush()
                    os.fsync(new.fileno())
                temporary.replace(target)
            except BaseException:
                with suppress(OSError):
                    temporary.unlink(missing_ok=True)
                raise
            _confirm(folder, self._shown(name))


def _is_listed(entry: os.DirEntry[str]) -> bool:
    name = entry.name.removesuffix(ENDING)
    if name == entry.name or not entry.is_file():
        return False
    with suppress(InvalidName):
        return bool(check_name(name))
    return False


def _make(folder: Path) -> None:
    """Create the folder, and bring its entry to the disk."""
    if folder.exists():
        return
    with suppress(FileExistsError):  # by another writer, or what is there is no folder, which the lock will say
        folder.mkdir(parents=True)
    parent = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _sync(parent)
    finally:
        os.close(parent)


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """Hold the folder's lock, and yield the folder's descriptor. A writer that dies lets go of the lock."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        patience = time.monotonic() + LOCK_PATIENCE
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > patience:
                    reason = f"another process has held the lock for {LOCK_PATIENCE:g} s"
                    raise TimeoutError(errno.ETIMEDOUT, reason) from None
                time.sleep(LOCK_INTERVAL)
        try:
            yield descriptor
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # closing would not do if a forked child shares the descriptor
    finally:
        os.close(descriptor)


def _sync(folder: int) -> None:
    """Bring the folder's entries to the disk, where the file system can do that for folders."""
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def _confirm(folder: int, shown: str) -> None:
    """Bring a change that has been made to the disk, or say that it may not have got there."""
    try:
        _sync(folder)
    except OSError as error:
        raise StoreUnwritable(
            f"{shown} was changed, but a power failure may undo it: {error.strerror}: check the disk, and see with "
            "supervm baseline show what was kept"
        ) from error


def _opened(path: Path) -> BinaryIO:
    """Open a regular file for reading, and nothing else: a pipe would make us wait for ever."""
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise OSError(errno.EINVAL, "it is not a regular file")


def _opened_or_empty(path: Path) -> BinaryIO:
    try:
        return _opened(path)
    except FileNotFoundError:
        return io.BytesIO()


def _take_over(old: BinaryIO, new: BinaryIO) -> None:
    """Give the copy the mode of the original and, where we may, its owner."""
    if isinstance(old, io.BytesIO):
        return
    there, here = os.fstat(old.fileno()), os.fstat(new.fileno())
    if (there.st_uid, there.st_gid) != (here.st_uid, here.st_gid):
        with suppress(PermissionError):
            os.fchown(new.fileno(), there.st_uid, there.st_gid)
    os.fchmod(new.fileno(), stat.S_IMODE(there.st_mode))


def history(name: str, file: BinaryIO, shown: str) -> History:
    """Return the runs in the lines of a file, sorted by time and id, each once, and the lines that cannot be read.

    Parameters
    ----------
    name
        Of the baseline.
    file
        Open at its beginning.
    shown
        What messages call it.
    """
    runs, damaged = _read(file, shown)
    distinct = {run.id: run for run in runs.values()}
    return History(name, tuple(sorted(distinct.values(), key=record.when)), tuple(damaged))


def _read(file: BinaryIO, shown: str) -> tuple[dict[int, Run], list[Damage]]:
    """Return the sound runs by line number, repetitions included, and the damaged lines. Empty lines are neither."""
    runs: dict[int, Run] = {}
    first: dict[str, int] = {}
    damaged: list[Damage] = []
    previous = 0
    for number, line in _pieces(file):
        if number == previous:
            continue  # the rest of a line that is too long
        previous = number
        try:
            if len(line) == record.LONGEST_LINE and not line.endswith(b"\n"):
                raise record.RecordError(f"{record.LONGEST_LINE} bytes or more")
            if not line.strip():
                continue
            run = record.decode(line)
            twin = first.setdefault(run.id, number)
            if runs.get(twin, run) != run:
                raise record.RecordError(f"its id {run.id!r} is that of another run, in line {twin}")
            runs[number] = run
        except record.RecordError as error:
            damaged.append(Damage(shown, number, str(error)))
    return runs, damaged


def _pieces(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield the lines with their numbers from 1, each as a whole; only one that is too long comes in pieces."""
    number = 1
    while piece := file.readline(record.LONGEST_LINE):
        yield number, piece
        number += piece.endswith(b"\n")
