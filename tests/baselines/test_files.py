"""What files add to the promises of a store: no byte of a damaged line is lost, whatever happens to the writer."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pytest_supervm.baselines import (
    FileStore,
    StoreUnreadable,
    StoreUnwritable,
    UnknownBaseline,
    UnsoundRun,
    files,
    record,
)
from pytest_supervm.baselines.record import encode

from .runs import a_run

HALF = encode(a_run(0))[:40] + b"\n"
Writers = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def kept(store: FileStore, folder: Path) -> Path:
    """The file of the baseline ``main``, with two runs and a damaged line between them."""
    store.append("main", a_run(0))
    file = folder / "main.jsonl"
    file.write_bytes(file.read_bytes() + HALF)
    store.append("main", a_run(1))
    return file


@pytest.fixture
def writer() -> Iterator[Writers]:
    """Start a process of `writers` in the given situation."""
    started: list[subprocess.Popen[str]] = []

    def start(situation: str, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", f"{__package__}.writers", situation, *map(str, arguments)]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, cwd=Path(__file__).parents[1], **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def finish(process: subprocess.Popen[str]) -> str:
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return output


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """The mount point of a file system of 64 KiB."""
    mount = tmp_path / "disk"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mount)]
    try:
        subprocess.run(command, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        pytest.skip("a tiny disk needs the command mount")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"a tiny disk needs the right to mount: {error.stderr.strip()}")
    yield mount
    subprocess.run(["umount", "--lazy", str(mount)], check=True)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Damaged lines


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (HALF, "not a line of JSON"),
        (b"\0" * 30 + b"\n", "not a line of JSON"),
        (b'{"schema": 1, "id": "\xff"}\n', "not a line of JSON in UTF-8"),
        (b'{"schema": 1, "id": ' + b"[" * 100_000 + b"\n", "not a line of JSON"),
        (b"<<<<<<< HEAD\n", "marker of a merge conflict"),
        (b"=======\n", "marker of a merge conflict"),
        (b">>>>>>> topic\n", "marker of a merge conflict"),
        (b"[1]\n", "not a record of a run"),
        (b'{"id": "x"}\n', "missing required field `schema`"),
        (b'{"schema": 1, "id": "x"}\n', "missing required field `time`"),
        (b'{"schema": 2, "runs": "all new"}\n', "a newer version of pytest-supervm wrote it .schema 2.*upgrade"),
        (encode(a_run(2)).replace(b"[[0.003]]", b'[["0.003"]]'), "Expected `float`, got `str`"),
        (encode(a_run(2)).replace(b"[[0.003]]", b"[[null]]"), "Expected `float`, got `null`"),
        (encode(a_run(2)).replace(b"[[0.003]]", b"[[NaN]]"), "not a line of JSON"),
        (encode(a_run(2)).replace(b"[[0.003]]", b"[[1e999]]"), "Number out of range"),
        (encode(a_run(2)).replace(b"[[0.003]]", b"[[-1]]"), "has the value -1"),
        (encode(a_run(2)).replace(b"[[0.003]]", b"[[]]"), "launch without values"),
        (encode(a_run(2)).replace(b'"lower"', b'"sideways"'), "Invalid enum value"),
        (encode(a_run(2)).rstrip() + encode(a_run(3)), "not a line of JSON"),
        (b"\xef\xbb\xbf" + encode(a_run(2)), "not a line of JSON"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_damaged_line_is_named_and_skipped(store: FileStore, folder: Path, line: bytes, reason: str) -> None:
    folder.mkdir()
    (folder / "main.jsonl").write_bytes(encode(a_run(0)) + line + encode(a_run(1)))
    history = store.load("main")
    assert history.runs == (a_run(0), a_run(1))
    (damage,) = history.damaged
    assert (damage.path, damage.line) == ("baselines/main.jsonl", 2)
    assert re.search(reason, damage.reason)


def test_a_line_that_is_too_long_is_damage(store: FileStore, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = b"x" * 5000 + b"\n"
    kept.write_bytes(long + kept.read_bytes() + long[:-1])
    monkeypatch.setattr(record, "LONGEST_LINE", 1000)
    history = store.load("main")
    assert history.runs == (a_run(0), a_run(1))
    assert [damage.line for damage in history.damaged] == [1, 3, 5]
    assert store.prune("main", 1) == 1
    assert kept.read_bytes() == long + HALF + encode(a_run(1)) + long[:-1]
    with pytest.raises(UnsoundRun, match=r"nothing was changed: its record has .* bytes, the most is 1000"):
        store.append("main", a_run(2, weight=500))


def test_a_file_with_nothing_but_damage_is_known_and_holds_no_run(store: FileStore, folder: Path) -> None:
    folder.mkdir()
    (folder / "main.jsonl").write_bytes(HALF)
    history = store.load("main")
    assert not history.runs
    assert len(history.damaged) == 1


def test_empty_lines_and_carriage_returns_are_no_damage(store: FileStore, folder: Path) -> None:
    folder.mkdir()
    lines = b"\n" + encode(a_run(0)).replace(b"\n", b"\r\n") + b"  \n\n" + encode(a_run(1)) + b"\n"
    (folder / "main.jsonl").write_bytes(lines)
    history = store.load("main")
    assert history.runs == (a_run(0), a_run(1))
    assert not history.damaged


def test_a_line_that_was_cut_off_stays_a_line_of_its_own(store: FileStore, kept: Path) -> None:
    before = kept.read_bytes() + HALF.rstrip()
    kept.write_bytes(before)
    store.append("main", a_run(2))
    assert kept.read_bytes() == before + b"\n" + encode(a_run(2))


lines = st.one_of(
    st.integers(0, 5).map(lambda number: encode(a_run(number))),
    st.binary(max_size=20).map(lambda junk: junk.replace(b"\n", b"") + b"\n"),
    st.just(HALF),
)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(lines, max_size=10), st.binary(max_size=5).map(lambda junk: junk.replace(b"\n", b"")), st.integers(1, 4)
)
@example([], b"", 1)
def test_no_command_loses_a_line_that_it_does_not_understand(written: list[bytes], tail: bytes, keep: int) -> None:
    with tempfile.TemporaryDirectory() as root:
        store, file = FileStore(Path(root), Path(root)), Path(root, "main.jsonl")
        before = b"".join(written) + tail
        file.write_bytes(before)
        store.append("main", a_run(6))
        after = file.read_bytes()
        assert after == before + (b"\n" if tail else b"") + encode(a_run(6))
        numbers = sorted({number for number in range(7) if encode(a_run(number)) in after.splitlines(keepends=True)})
        gone = {encode(a_run(number)) for number in numbers[:-keep]}
        assert store.prune("main", keep) == len(gone)
        pruned = b"".join(line for line in io.BytesIO(after) if line not in gone)
        assert file.read_bytes() == pruned
        store.rename("main", "other")
        assert Path(root, "other.jsonl").read_bytes() == pruned
        assert names(Path(root)) == ["other.jsonl"]


# Writers that are killed, compete, or find the disk full


def test_killing_writers_leaves_the_old_file_or_the_new_one(writer: Writers, folder: Path) -> None:
    assert int(finish(writer("killed", folder, 30, 7))) > 0


def test_concurrent_writers_lose_nothing(writer: Writers, store: FileStore, folder: Path) -> None:
    for process in [writer("append", folder, 25 * number, 25) for number in range(4)]:
        finish(process)
    assert store.load("main").runs == tuple(a_run(number) for number in range(100))
    assert names(folder) == ["main.jsonl"]


@pytest.mark.parametrize("spare", [-1, 0, 1, 200])
def test_a_limit_on_file_sizes_changes_nothing(writer: Writers, kept: Path, spare: int) -> None:
    before = kept.read_bytes()
    message = finish(writer("limited", kept.parent, 2, len(before) + spare))
    assert "main.jsonl cannot be written, and nothing was changed: File too large: raise the limit" in message
    assert kept.read_bytes() == before
    assert names(kept.parent) == ["main.jsonl"]


def test_a_full_disk_changes_nothing(tiny_disk: Path) -> None:
    folder = tiny_disk / "baselines"
    store, file = FileStore(folder, folder), folder / "main.jsonl"
    store.append("main", a_run(0))
    before = file.read_bytes()
    big = a_run(1, weight=15_000)
    with pytest.raises(StoreUnwritable, match="nothing was changed: No space left on device: free some space"):
        store.append("main", big)
    assert file.read_bytes() == before
    assert names(folder) == ["main.jsonl"]
    subprocess.run(["mount", "-o", "remount,size=1m", str(tiny_disk)], check=True)
    store.append("main", big)
    assert store.load("main").runs == (a_run(0), big)


def test_a_file_system_that_is_read_only_changes_nothing(tiny_disk: Path) -> None:
    store = FileStore(tiny_disk, tiny_disk)
    store.append("main", a_run(0))
    store.append("main", a_run(1))
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)
    unborn = FileStore(tiny_disk / "new", tiny_disk / "new")
    for change in (
        lambda: store.append("main", a_run(2)),
        lambda: store.append("new", a_run(2)),
        lambda: store.prune("main", 1),
        lambda: store.rename("main", "other"),
        lambda: unborn.append("main", a_run(2)),
    ):
        with pytest.raises(StoreUnwritable, match="nothing was changed: Read-only file system: make the file system"):
            change()
    assert store.load("main").runs == (a_run(0), a_run(1))


def test_a_folder_that_is_not_ours_changes_nothing(store: FileStore, kept: Path) -> None:
    before = kept.read_bytes()
    kept.parent.chmod(0o555)
    try:
        if os.access(kept.parent, os.W_OK):
            pytest.skip("who may write anywhere (root) cannot be refused")
        with pytest.raises(StoreUnwritable, match="nothing was changed: Permission denied: make the folder"):
            store.append("main", a_run(2))
    finally:
        kept.parent.chmod(0o755)
    assert kept.read_bytes() == before


def fail_in(monkeypatch: pytest.MonkeyPatch, step: str, problem: BaseException) -> None:
    """Let one step of the next change raise `problem`."""

    def fail(*_: object, **__: object) -> NoReturn:
        raise problem

    class Broken(io.BufferedWriter):
        def write(self, data: Any) -> int:
            super().write(bytes(data)[:10])
            self.flush()
            return fail()

    opened = Path.open

    def opening(path: Path, mode: str = "r", *arguments: Any, **keywords: Any) -> Any:
        return Broken(io.FileIO(path, "xb")) if mode == "xb" else opened(path, mode, *arguments, **keywords)

    match step:
        case "lock":
            monkeypatch.setattr(fcntl, "flock", fail)
        case "create":
            monkeypatch.setattr(Path, "open", fail)
        case "mode":
            monkeypatch.setattr(os, "fchmod", fail)
        case "write":
            monkeypatch.setattr(Path, "open", opening)
        case "fsync":
            monkeypatch.setattr(os, "fsync", fail)
        case "rename":
            monkeypatch.setattr(Path, "replace", fail)


@pytest.mark.parametrize("change", ["append", "prune"])
@pytest.mark.parametrize("problem", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()], ids=["EIO", "^C"])
@pytest.mark.parametrize("step", ["lock", "create", "mode", "write", "fsync", "rename"])
def test_a_change_that_fails_on_the_way_changes_nothing(
    store: FileStore, kept: Path, monkeypatch: pytest.MonkeyPatch, step: str, problem: BaseException, change: str
) -> None:
    before, mode = kept.read_bytes(), kept.stat().st_mode
    expected: type[BaseException] = StoreUnwritable if isinstance(problem, OSError) else KeyboardInterrupt
    with monkeypatch.context() as patch:
        fail_in(patch, step, problem)
        with pytest.raises(expected, match="nothing was changed" if expected is StoreUnwritable else None):
            store.append("main", a_run(2)) if change == "append" else store.prune("main", 1)
    assert kept.read_bytes() == before
    assert kept.stat().st_mode == mode
    assert names(kept.parent) == ["main.jsonl"]
    store.append("main", a_run(2))  # the lock was given back
    assert store.load("main").runs == (a_run(0), a_run(1), a_run(2))


def test_a_folder_that_cannot_be_synced_is_said_after_the_change(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append("main", a_run(0))
    store.append("main", a_run(1))
    synced = os.fsync

    def fsync(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):  # noqa: PTH112
            raise OSError(problem, os.strerror(problem))
        synced(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    problem = errno.EIO
    with pytest.raises(
        StoreUnwritable, match=r"main\.jsonl was changed, but a power failure may undo it: Input/output"
    ):
        store.append("main", a_run(2))
    problem = errno.EINVAL  # the file system has no such thing
    store.append("main", a_run(3))
    assert len(store.load("main").runs) == 4


def test_a_writer_that_stopped_is_not_waited_for_for_ever(
    store: FileStore, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LOCK_PATIENCE", 0.05)
    before = kept.read_bytes()
    with (
        files._locked(kept.parent),
        pytest.raises(StoreUnwritable, match=r"another process has held the lock for 0\.05 s: see which process"),
    ):
        store.append("main", a_run(2))
    assert kept.read_bytes() == before


def test_what_a_killed_writer_left_is_neither_listed_nor_kept(store: FileStore, kept: Path) -> None:
    (kept.parent / ".supervm-0123abcd.tmp").write_bytes(b"half")
    assert store.names() == ("main",)
    store.append("main", a_run(2))
    assert names(kept.parent) == ["main.jsonl"]


# Files that are not what they seem


def test_mode_and_owner_of_a_file_stay(store: FileStore, kept: Path) -> None:
    kept.chmod(0o640)
    with suppress(PermissionError):  # who may not give files away sees the mode stay, at least
        os.chown(kept, 12345, 54321)
    before = kept.stat()
    store.append("main", a_run(2))
    store.prune("main", 1)
    after = kept.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)


def test_a_new_file_has_the_mode_of_the_umask(store: FileStore, folder: Path) -> None:
    umask = os.umask(0o027)
    try:
        store.append("main", a_run(0))
    finally:
        os.umask(umask)
    assert (folder / "main.jsonl").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("place", ["elsewhere", "baselines"])
def test_a_symbolic_link_stays_one(store: FileStore, kept: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / place / "shared.txt"
    kept.rename(target)
    kept.symlink_to(os.path.relpath(target, kept.parent))
    store.append("main", a_run(2))
    assert kept.is_symlink()
    assert target.read_bytes().endswith(encode(a_run(2)))
    assert store.prune("main", 1) == 2
    assert target.read_bytes() == HALF + encode(a_run(2))
    store.rename("main", "other")
    assert store.load("other").runs == (a_run(2),)
    assert names(target.parent) in (["shared.txt"], ["other.jsonl", "shared.txt"])


def test_a_link_to_nothing_gets_its_file(store: FileStore, folder: Path, tmp_path: Path) -> None:
    folder.mkdir()
    (folder / "main.jsonl").symlink_to(tmp_path / "target")
    assert store.names() == ()
    with pytest.raises(UnknownBaseline):
        store.load("main")
    store.append("main", a_run(0))
    assert (tmp_path / "target").read_bytes() == encode(a_run(0))
    assert store.load("main").runs == (a_run(0),)


def test_a_loop_of_links_is_refused(store: FileStore, folder: Path) -> None:
    folder.mkdir()
    (folder / "main.jsonl").symlink_to("main.jsonl")
    with pytest.raises(StoreUnreadable, match="Too many levels of symbolic links"):
        store.load("main")
    with pytest.raises(StoreUnwritable, match="nothing was changed"):
        store.append("main", a_run(0))
    assert names(folder) == ["main.jsonl"]


@pytest.mark.parametrize(
    ("make", "reason"),
    [(Path.mkdir, "Is a directory"), (os.mkfifo, "it is not a regular file")],
    ids=["folder", "pipe"],
)
def test_what_is_no_file_is_refused(
    store: FileStore, folder: Path, make: Callable[[Path], object], reason: str
) -> None:
    folder.mkdir()
    make(folder / "main.jsonl")
    assert store.names() == ()
    with pytest.raises(StoreUnreadable, match=f"baselines/main.jsonl cannot be read: {reason}"):
        store.load("main")
    with pytest.raises(StoreUnwritable, match=f"nothing was changed: {reason}"):
        store.append("main", a_run(0))
    assert names(folder) == ["main.jsonl"]


def test_a_store_that_is_no_folder_is_refused(store: FileStore, folder: Path) -> None:
    folder.write_text("a file")
    with pytest.raises(StoreUnreadable, match="the store baselines cannot be read: Not a directory"):
        store.names()
    with pytest.raises(StoreUnreadable, match="Not a directory"):
        store.load("main")
    with pytest.raises(StoreUnwritable, match="nothing was changed: Not a directory"):
        store.append("main", a_run(0))
    assert folder.read_text() == "a file"


def test_other_files_in_the_folder_are_left_alone(store: FileStore, kept: Path) -> None:
    others = ["README.md", ".gitattributes", "a b.jsonl", ".jsonl"]
    for other in others:
        (kept.parent / other).write_text(other)
    store.append("main", a_run(2))
    store.prune("main", 1)
    assert store.names() == ("main",)
    assert names(kept.parent) == sorted([*others, "main.jsonl"])
