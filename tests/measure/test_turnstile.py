"""Measurements have the room to themselves, whoever crashes, hangs, nests or crowds in front of it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_supervm.measure import turnstile
from pytest_supervm.measure.turnstile import TOKEN, Turnstile, TurnstileError, runtime_folder

VISITOR = """
import os, random, sys, time
from pathlib import Path
from pytest_supervm.measure.turnstile import Turnstile

folder, seed, visits = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
log = os.open(folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
chance = random.Random(seed)

def say(event):
    os.write(log, f"{event} {seed}\\n".encode())

way_in = Turnstile(patience=60, folder=folder)
for _ in range(visits):
    with way_in.visit() as visit:
        say("enter")
        time.sleep(chance.random() / 200)
        if chance.random() < 0.4:
            say("leave")
            with visit.alone(f"case {seed}") as reason:
                assert reason is None
                say("alone")
                time.sleep(chance.random() / 200)
                say("done")
            say("enter")
            time.sleep(chance.random() / 200)
        say("leave")
"""

HOLDER = """
import sys
from pathlib import Path
from pytest_supervm.measure.turnstile import Turnstile

with Turnstile(patience=60, folder=Path(sys.argv[1])).visit() as visit:
    if sys.argv[2] == "measures":
        with visit.alone("test_slow.py::test_it"):
            print("inside", flush=True)
            sys.stdin.read()
    else:
        print("inside", flush=True)
        sys.stdin.read()
"""


def start(code: str, *arguments: object, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options)  # type: ignore[call-overload, no-any-return]


@contextlib.contextmanager
def another(folder: Path, does: str) -> Iterator[subprocess.Popen[str]]:
    """Have another process in the room, which ``tests`` or ``measures`` until the block ends."""
    with start(HOLDER, folder, does) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "inside\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture(autouse=True)
def outermost(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if nobody around these tests measured."""
    monkeypatch.delenv(TOKEN, raising=False)


# Exclusion.


def test_a_measurer_is_alone_and_tests_are_not(tmp_path: Path) -> None:
    """Replays what eight processes wrote while they held what they say they held."""
    seed = random.randrange(1_000_000)
    crowd = [start(VISITOR, tmp_path, seed + member, 25) for member in range(8)]
    for process in crowd:
        process.communicate()
        assert process.returncode == 0, f"seed {seed}"
    inside: Counter[str] = Counter()
    alone, most_together, measured = None, 0, 0
    for line in (tmp_path / "log").read_text().splitlines():
        event, who = line.split()
        if event == "enter":
            inside[who] += 1
        elif event == "leave":
            inside[who] -= 1
        elif event == "alone":
            assert alone is None, f"seed {seed}: {who} measured beside {alone}"
            alone, measured = who, measured + 1
        else:
            alone = None
        assert alone is None or not +inside, f"seed {seed}: {+inside} ran beside the measurement of {alone}"
        most_together = max(most_together, inside.total())
    assert most_together > 1
    assert measured > 0


@pytest.mark.parametrize("does", ["tests", "measures"])
def test_a_crash_frees_the_room(tmp_path: Path, does: str) -> None:
    with another(tmp_path, does) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        with Turnstile(60, tmp_path).visit() as visit, visit.alone("a case") as reason:
            assert reason is None


def test_a_forked_child_that_lives_on_does_not_keep_the_room(tmp_path: Path) -> None:
    way_in = Turnstile(0.1, tmp_path)
    read, write = os.pipe()
    with way_in.visit():
        with warnings.catch_warnings(action="ignore"):  # xdist's workers have threads, and Python 3.12 frowns on that
            child = os.fork()
        if child == 0:
            os.read(read, 1)
            os._exit(0)
    try:
        with way_in.visit() as visit, visit.alone("a case") as reason:
            assert reason is None
    finally:
        os.write(write, b"x")
        os.waitpid(child, 0)


# Patience.


def test_a_measurer_that_loses_patience_names_who_is_in_the_room(tmp_path: Path) -> None:
    with another(tmp_path, "tests") as process, Turnstile(0.1, tmp_path).visit() as visit:
        with visit.alone("a case") as reason:
            assert reason is not None
            assert reason.startswith("waited 0.1 s for process ")
            assert str(process.pid) in reason
            assert sys.executable in reason
        with Turnstile(0.1, tmp_path).visit():
            pass  # the gate is open again


def test_who_loses_patience_before_the_gate_names_the_measurer_and_its_case(tmp_path: Path) -> None:
    way_in = Turnstile(0.1, tmp_path)
    with way_in.visit() as visit:
        pass
    with another(tmp_path, "measures") as process:
        names = rf"waited 0\.1 s for process {process.pid} \(.*\), which measures test_slow\.py::test_it: "
        with pytest.raises(TurnstileError, match=names), way_in.visit():
            raise AssertionError("a test ran beside a measurement")
    assert TOKEN not in os.environ
    with way_in.visit() as visit, visit.alone("a case") as reason:
        assert reason is None


def test_patience_is_lost_with_a_process_and_not_with_a_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    measurers = iter(["first", "first", "second", "second", "second", "third"])

    def pause(_seconds: float) -> None:
        now[0] += 4
        if (who := next(measurers, None)) is None:
            process.kill()
            process.wait()
        else:
            (tmp_path / "gate-0").write_text(who)

    with another(tmp_path, "measures") as process:
        monkeypatch.setattr(turnstile.time, "monotonic", lambda: now[0])
        monkeypatch.setattr(turnstile.time, "sleep", pause)
        with Turnstile(10, tmp_path).visit():
            assert now[0] > 10


# A pytest inside a pytest.


def test_whoever_descends_from_the_room_measures_beside_its_ancestor_only(tmp_path: Path) -> None:
    way_in = Turnstile(0.1, tmp_path)
    with way_in.visit(), another(tmp_path, "measures") as child:
        with pytest.raises(TurnstileError, match=f"process {child.pid} "), way_in.visit():
            raise AssertionError("a second one of the nested level came in")
        with start(HOLDER, tmp_path, "tests", env=_without_token()) as stranger:
            assert stranger.stdout is not None
            assert stranger.stdout.readline() == "inside\n"
            stranger.kill()


def test_a_measured_pytest_may_measure(tmp_path: Path) -> None:
    with Turnstile(60, tmp_path).visit() as visit, visit.alone("a case"), another(tmp_path, "measures"):
        assert {path.name for path in tmp_path.iterdir()} == {"gate-0", "room-0", "gate-1", "room-1"}


@pytest.mark.parametrize("token", ["nonsense", "1:2:3", "{pid}:another boot:0", "{stranger}:{boot}:0", "::"])
def test_a_token_that_does_not_name_an_ancestor_counts_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    with another(tmp_path, "measures") as stranger:
        named = token.format(pid=os.getpid(), stranger=stranger.pid, boot=turnstile._boot_id())
        monkeypatch.setenv(TOKEN, named)
        with pytest.raises(TurnstileError), Turnstile(0.1, tmp_path).visit():
            raise AssertionError("let in by a token of a stranger")
        assert os.environ[TOKEN] == named


def _without_token() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != TOKEN}


# The folder.


def test_the_runtime_folder_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    tmp_path.chmod(0o700)
    assert runtime_folder() == tmp_path / "pytest-supervm"
    assert runtime_folder().stat().st_mode & 0o777 == 0o700


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files, where no runtime folder is to be had."""
    monkeypatch.setattr(turnstile.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(turnstile.os, "getuid", lambda: os.geteuid())
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    is_own = turnstile._is_own
    monkeypatch.setattr(turnstile, "_is_own", lambda folder: is_own(folder) and folder.is_relative_to(tmp_path))
    return tmp_path


def test_a_stale_runtime_folder_is_passed_over(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(temporary / "gone"))
    assert runtime_folder() == temporary / f"pytest-supervm-{os.getuid()}"


@pytest.mark.parametrize("trap", ["a link", "writable by all", "a file"])
def test_a_folder_that_somebody_else_prepared_is_refused(temporary: Path, trap: str) -> None:
    folder = temporary / f"pytest-supervm-{os.getuid()}"
    if trap == "a link":
        (temporary / "elsewhere").mkdir()
        folder.symlink_to(temporary / "elsewhere")
    elif trap == "a file":
        folder.write_text("")
    else:
        folder.mkdir()
        folder.chmod(0o777)
    with pytest.raises(TurnstileError, match=folder.name):
        Turnstile(60)
