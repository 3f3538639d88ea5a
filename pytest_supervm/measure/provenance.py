"""Where a run comes from: the machine, the commit, the packages, and how fast a fixed piece of work was."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import os
import platform
import secrets
import statistics
import subprocess
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path

import psutil

from pytest_supervm.measure import clock
from pytest_supervm.model import Commit, Machine

MACHINE_ID_FILES = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))
NO_HARDWARE_ADDRESS = 1 << 40
"""Bit of a node number that was drawn by lot, for want of a network card: it is another in every process (RFC 9562)."""

CALIBRATION_BYTES = 1 << 20
CALIBRATION_ROUNDS = 15


def run_id(now: datetime.datetime) -> str:
    """Return an identifier that is unique and sorts by time."""
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


def machine() -> Machine:
    """Describe this machine by what makes figures comparable."""
    import cpuinfo

    affinity = getattr(os, "sched_getaffinity", None)
    return Machine(
        cpu=cpuinfo.get_cpu_info().get("brand_raw") or platform.processor() or "unknown",
        cores=len(affinity(0)) if affinity else psutil.cpu_count() or 1,
        memory=round(psutil.virtual_memory().total / 2**30),
        os=f"{_system()} {platform.machine()}",
        python=f"{platform.python_implementation()} {sys.version_info.major}.{sys.version_info.minor}",
        id=_hashed_machine_id(),
    )


def commit(root: Path, ignoring: Path) -> Commit | None:
    """Return the commit checked out at `root`, or None outside a git checkout.

    Parameters
    ----------
    root
        A folder of the checkout.
    ignoring
        A folder whose changes do not make the checkout dirty: where baselines are kept.
    """
    head = _git(root, "rev-parse", "HEAD")
    if head is None:
        return None
    kept = f":(exclude,top,literal){_below(root, ignoring)}"
    status = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ":/", kept)
    branch = _git(root, "symbolic-ref", "--short", "-q", "HEAD")
    return Commit(id=head, dirty=status != "", branch=branch or None)  # not known to be clean is dirty


def packages(path: Sequence[str] | None = None) -> dict[str, str]:
    """Return the installed distributions and their versions; of two of a name, the one that is imported.

    Parameters
    ----------
    path
        Folders to look in instead of this process's own.
    """
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions(path=sys.path if path is None else list(path)):
        about = distribution.metadata
        if about and "Name" in about and "Version" in about:  # what a broken installation leaves has neither
            found.setdefault(about["Name"], about["Version"])
    return dict(sorted(found.items()))


def calibration() -> float:
    """Return the median seconds of a fixed piece of work: BLAKE2b over a mebibyte of zeros."""
    data = bytes(CALIBRATION_BYTES)
    times = []
    for _ in range(CALIBRATION_ROUNDS):
        start = clock.wall()
        hashlib.blake2b(data).digest()
        times.append(clock.wall() - start)
    return statistics.median(times) / 1e9


def _system() -> str:
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return f"{platform.system()} {platform.release()}"
    return f"{release['NAME']} {release.get('VERSION_ID', '')}".rstrip()


def _hashed_machine_id() -> str:
    for path in MACHINE_ID_FILES:
        try:
            identity = path.read_text().strip()
        except OSError:
            continue
        if identity:
            break
    else:
        node = uuid.getnode()
        identity = platform.node() if node & NO_HARDWARE_ADDRESS else f"{node:012x}"
    return hashlib.sha256(f"pytest-supervm:{identity}".encode()).hexdigest()[:16]


def _below(root: Path, folder: Path) -> str:
    """Path of `folder` relative to the checkout's top, for a pathspec.

    A folder outside excludes nothing; nor does the top itself, which would exclude everything.
    """
    top = Path(_git(root, "rev-parse", "--show-toplevel") or root).resolve()
    folder = folder.resolve()
    return str(folder.relative_to(top)) if top in folder.parents else ".git"


def _git(root: Path, *arguments: str) -> str | None:
    """Run git and return its output; None where git or the repository is absent, or the command fails."""
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
