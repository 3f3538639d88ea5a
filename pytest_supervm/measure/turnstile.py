"""At most one measurement at a time, and no test beside it: a turnstile for all of a user's measuring pytest processes.

It is two files in the user's runtime folder and `flock` on them, which the kernel frees when a process ends, however it
ends. Whoever runs a test is in the *room*: it holds that file shared. Whoever measures has the room to itself: it holds
the file exclusively. Since `flock` lets readers pass a waiting writer for ever, there is a *gate* before the room: a
test passes it shared and lets go of it at once, a measurer keeps it closed (exclusively) while it waits for the room to
empty and while it measures. A test that begins to measure leaves the room first, for two that stayed inside and waited
for each other would wait for ever. Afterwards it is back among the tests before it opens the gate.

A pytest inside a pytest (in the process, or started by a test) finds a token in its environment: pid and boot id of the
process that is in the room, and how deep that one is nested. If it descends from that process, it takes part one level
deeper, in a gate and a room that only processes of that depth use. Locks are thus only ever waited for on the way down,
and nobody waits for its own ancestor. There is still one measurement at a time: while a test of one level is in the
room, nobody of that level measures, and of the level below only one does. Two things are given up: beside a nested
measurement the other tests of the levels above go on, and a pytest that is itself being measured may measure.

Waiting looks at the lock fifty times a second, so that it can end. Patience is lost with a process, not with a queue:
it begins anew whenever another measurement has the turn or begins. It ends in a sentence that names who is inside, from
``/proc/locks`` and the text that a measurer writes into the gate. A measurement is then unmeasured. (Where it was the
gate that did not open, the rest of that test is not in the room.) A test that cannot come in fails.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

TOKEN = "SUPERVM_TURNSTILE"
"""Environment variable that tells descendants who is in the room: ``pid:boot id:depth``."""

LOOKS_EVERY = 0.02
"""Seconds between two looks at a lock that another holds."""

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
LOCKS = Path("/proc/locks")
LONGEST_COMMAND = 100
"""Letters of a command that a sentence quotes."""


class TurnstileError(Exception):
    """There is no turnstile, or no getting through: why, and what to do."""


class Turnstile:
    """The way into the room.

    Parameters
    ----------
    patience
        Seconds to wait behind one and the same measurement.
    folder
        Where the files are; by default the user's runtime folder.

    Raises
    ------
    TurnstileError
        There is no folder that this user alone can write to.
    """

    def __init__(self, patience: float, folder: Path | None = None) -> None:
        self.patience = patience
        self.folder = folder or runtime_folder()
        try:
            os.close(_open(self.folder / "gate-0"))
        except OSError as error:
            raise TurnstileError(f"{self.folder} cannot hold the files that measurements queue at: {error}") from None

    @contextlib.contextmanager
    def visit(self) -> Iterator[Visit]:
        """Be in the room, as a test is.

        Raises
        ------
        TurnstileError
            Somebody measures and does not come to an end.
        """
        inherited = os.environ.get(TOKEN)
        depth = _depth(inherited)
        gate, room = (_open(self.folder / f"{name}-{depth}") for name in ("gate", "room"))
        visit = Visit(gate, room, self.patience)
        try:
            visit.enter()
            os.environ[TOKEN] = f"{os.getpid()}:{_boot_id()}:{depth}"
            yield visit
        finally:
            if inherited is None:
                os.environ.pop(TOKEN, None)
            else:
                os.environ[TOKEN] = inherited
            for file in (room, gate):
                fcntl.flock(file, fcntl.LOCK_UN)  # closing is not enough where a forked child has the file too
                os.close(file)


class Visit:
    """A test in the room, which may ask the others to leave.

    Parameters
    ----------
    gate, room
        Descriptors of the two files, for this visit alone.
    patience
        Seconds to wait behind one and the same measurement.
    """

    def __init__(self, gate: int, room: int, patience: float) -> None:
        self._gate = gate
        self._room = room
        self._patience = patience

    def enter(self) -> None:
        """Wait for the gate to open, and go in."""
        self._wait(self._gate, fcntl.LOCK_SH, self._measurer)
        fcntl.flock(self._room, fcntl.LOCK_SH)  # at once: whoever has the room to itself keeps the gate closed
        fcntl.flock(self._gate, fcntl.LOCK_UN)

    @contextlib.contextmanager
    def alone(self, what: str) -> Iterator[str | None]:
        """Have the room to oneself; yields None, or why it could not be had.

        Parameters
        ----------
        what
            What is going to be measured, for those who have to wait.
        """
        fcntl.flock(self._room, fcntl.LOCK_UN)
        reason = None
        try:
            self._wait(self._gate, fcntl.LOCK_EX, self._measurer)
        except TurnstileError as error:
            yield str(error)
            return
        try:
            _write(self._gate, f"{_process(os.getpid())}, which waits to measure {what}")
            try:
                self._wait(self._room, fcntl.LOCK_EX, lambda: holders(self._room))
                _write(self._gate, f"{_process(os.getpid())}, which measures {what}")
            except TurnstileError as error:
                reason = str(error)
            yield reason
        finally:
            fcntl.flock(self._room, fcntl.LOCK_SH)  # at once, for the gate is closed
            fcntl.flock(self._gate, fcntl.LOCK_UN)

    def _measurer(self) -> str:
        """Return who closed the gate and what it measures."""
        return os.pread(self._gate, 1000, 0).decode(errors="replace") or holders(self._gate)

    def _wait(self, file: int, lock: int, inside: Callable[[], str]) -> None:
        """Take a lock as soon as it is free; `inside` says who has it."""
        who = None
        while True:
            try:
                return fcntl.flock(file, lock | fcntl.LOCK_NB)
            except BlockingIOError:
                now = time.monotonic()
                if who is None or (file == self._gate and who != inside()):
                    who, patient_until = inside(), now + self._patience
                if now >= patient_until:
                    raise TurnstileError(
                        f"waited {self._patience:g} s for {inside()}: end it, or give it more time with "
                        f"[tool.supervm] wait"
                    ) from None
            time.sleep(LOOKS_EVERY)


def runtime_folder() -> Path:
    """Return a folder that lasts as long as this user's locks need, and that is this user's alone; make it if need be.

    It is in ``$XDG_RUNTIME_DIR``, else in ``/run/user/UID`` (where a cron job meets a login), else in the folder for
    temporary files.

    Raises
    ------
    TurnstileError
        There is none; the sentence says what is wrong with the last of these.
    """
    user = os.getuid()
    for parent in (os.environ.get("XDG_RUNTIME_DIR"), f"/run/user/{user}"):
        if parent and _is_own(Path(parent)) and os.access(parent, os.W_OK | os.X_OK):
            folder = Path(parent) / "pytest-supervm"
            break
    else:
        folder = Path(tempfile.gettempdir()) / f"pytest-supervm-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise TurnstileError(f"no folder for the files that measurements queue at: {error}") from None
    if not _is_own(folder):
        raise TurnstileError(
            f"{folder} must be a folder that belongs to user {user} and that nobody else can write to: remove it, or "
            f"set XDG_RUNTIME_DIR"
        )
    return folder


def holders(file: int) -> str:
    """Name the processes that hold a lock on an open file."""
    inode = str(os.fstat(file).st_ino)
    pids = set()
    with contextlib.suppress(OSError):
        for line in LOCKS.read_text().splitlines():
            fields = line.split()  # 1: FLOCK ADVISORY WRITE 4711 08:02:131 0 EOF; one who waits has an arrow first
            if fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == inode:
                pids.add(int(fields[4]))
    return " and ".join(map(_process, sorted(pids - {os.getpid()}))) or "another process"


def _process(pid: int) -> str:
    """Name a process by its id and its command."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        words = sys.orig_argv if pid == os.getpid() else []
    command = " ".join(shlex.join(words).split())
    if len(command) > LONGEST_COMMAND:
        command = f"{command[: LONGEST_COMMAND - 3]}..."
    return f"process {pid} ({command})" if command else f"process {pid}"


def _depth(token: str | None) -> int:
    """Return how deep this process is nested: one deeper than the living ancestor that the token names, else 0."""
    pid, _, rest = (token or "").partition(":")
    boot, _, depth = rest.rpartition(":")
    if not (pid.isdecimal() and depth.isdecimal() and boot == _boot_id()):
        return 0
    import psutil

    lineage = {os.getpid(), *(ancestor.pid for ancestor in psutil.Process().parents())}
    return int(depth) + 1 if int(pid) in lineage else 0


def _boot_id() -> str:
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""


def _is_own(folder: Path) -> bool:
    """Tell whether it is a real folder of this user's in which nobody else can put a file."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _write(file: int, text: str) -> None:
    """Put text into a file in place of what it holds; a full disk is no reason not to measure."""
    with contextlib.suppress(OSError):
        os.ftruncate(file, 0)
        os.pwrite(file, text.encode()[:1000], 0)
