"""A sign of life: when it comes, where it is written, and that nothing else on the screen is lost to it."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_supervm.report import progress

CASE = """
import pathlib, time

def test_before(measure):
    pass

def test_case(measure):
    print("a captured word")
    measure(time.sleep, 0.005)
    seen = pathlib.Path("seen")
    deadline = time.monotonic() + 20
    while WAITS and not seen.exists():
        assert time.monotonic() < deadline, "nobody saw a sign before the measurement was over"
        time.sleep(0.01)
"""

IMPATIENT = """
from pytest_supervm.report import progress
progress.PATIENCE = 0.0
"""

LINE = re.compile(r"^measuring test_slow\.py::test_case: \d+ s of about \d+ s$")


def command(project: Any, *options: str, waits: bool = False, seconds: str = "2100ms") -> list[str]:
    project.write("test_slow.py", CASE.replace("WAITS", str(waits)))
    times = (f"--supervm-time={seconds}", f"--supervm-max-time={seconds}")
    return [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *times, *options]


def on_terminal(arguments: list[str], folder: Path) -> str:
    """Run a command on a pseudo-terminal and return what it wrote there."""
    main, terminal = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "NO_COLOR", "BUILD_NUMBER")}
    environment |= {"TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(arguments, cwd=folder, stdin=terminal, stdout=terminal, stderr=terminal, env=environment)
    os.close(terminal)
    written = b""
    try:
        while select.select([main], [], [], 60)[0]:
            try:
                written += os.read(main, 65536)
            except OSError:  # the other end is closed
                break
    finally:
        process.kill()
        process.wait()
        os.close(main)
    return written.decode()


def screen(written: str) -> list[str]:
    """Return the lines that a terminal would show in the end: carriage return, cursor up and erase line are obeyed."""
    lines, row, column = [""], 0, 0
    for token in re.findall(r"\x1b\[[?0-9;]*[a-zA-Z]|[\r\n]|[^\x1b\r\n]+", written):
        if token == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif token == "\r":
            column = 0
        elif token.endswith("A") and token.startswith("\x1b"):
            row -= int(token[2:-1] or 1)
        elif token.endswith("K") and token.startswith("\x1b"):
            lines[row] = "" if token[2:-1] == "2" else lines[row][:column]
        elif not token.startswith("\x1b"):
            lines[row] = lines[row].ljust(column)[:column] + token + lines[row][column + len(token) :]
            column += len(token)
    return [line.rstrip() for line in lines]


def test_on_a_terminal_a_bar_is_redrawn_and_takes_nothing_with_it(project: Any) -> None:
    project.write("conftest.py", IMPATIENT)
    written = on_terminal(command(project, seconds="700ms"), project.path)
    assert len(re.findall(r"measuring test_slow\.py::test_case", written)) > 1
    assert re.search(r"\d of about \d s", written)
    assert "a captured word" not in written

    shown = screen(written)
    assert not [line for line in shown if line.startswith("measuring ")], "the bar must be gone in the end"
    assert "test_slow.py ." in shown, "the line that pytest had begun must stay"
    assert any("2 passed" in line for line in shown)
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h"), "the cursor must come back"


def test_in_a_pipe_a_plain_line_arrives_while_the_test_still_runs(
    project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without capture, so that what the test prints stands before it; and with the buffer that a pipe has."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    arguments = command(project, "-s", waits=True)
    process = subprocess.Popen(
        arguments, cwd=project.path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
    )
    lines = []
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if LINE.match(lines[-1]):
                (project.path / "seen").touch()
    assert process.wait() == 0, "\n".join(lines)
    first = next(number for number, line in enumerate(lines) if LINE.match(line))
    assert any(line.endswith("a captured word") for line in lines[:first])
    assert "\x1b" not in "\n".join(lines)


def test_in_ci_a_line_is_plain_even_on_a_terminal(project: Any) -> None:
    project.write("conftest.py", IMPATIENT)
    arguments = ["env", "CI=true", *command(project, "--color=no", "--capture=sys", "-v", seconds="50ms")]
    shown = on_terminal(arguments, project.path)
    assert [line for line in shown.splitlines() if LINE.match(line)]
    assert "\x1b[?25l" not in shown
    assert "a captured word" not in shown


def test_without_a_terminal_reporter_nothing_is_written_and_nothing_breaks(project: Any) -> None:
    project.write("conftest.py", IMPATIENT)
    arguments = command(project, "-p", "no:terminal", "--supervm-json=results.json", seconds="50ms")
    done = subprocess.run(arguments, cwd=project.path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (project.path / "results.json").exists()


class Screen:
    """A terminal reporter that keeps its lines, and a clock for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, isatty: bool) -> None:
        self.now = 100.0
        self.lines: list[str] = []
        self.isatty = isatty
        monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: self.now))
        plugins = SimpleNamespace(getplugin=lambda name: self if name == "terminalreporter" else None)
        self.progress = progress.Progress(SimpleNamespace(pluginmanager=plugins), "test_x.py::test_y")  # type: ignore[arg-type]

    def ensure_newline(self) -> None:
        """Nothing is begun here."""

    def flush(self) -> None:
        """Nothing is held back here."""

    def write_line(self, line: str) -> None:
        self.lines.append(line)

    def signs(self, *times: float) -> list[str]:
        """Return what is written when it is told at these seconds that the measurement goes on."""
        with self.progress as sign:
            for seconds in times:
                self.now = 100.0 + seconds
                sign(seconds, 60)
        return self.lines


def test_no_sign_comes_within_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Screen(monkeypatch, isatty=False).signs(0, 1, 1.99) == []


def test_plain_lines_come_after_two_seconds_and_then_every_ten(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Screen(monkeypatch, isatty=False).signs(1, 2, 2.5, 11.9, 12, 13, 30) == [
        f"measuring test_x.py::test_y: {seconds} s of about 60 s" for seconds in (2, 12, 30)
    ]


@pytest.mark.parametrize(("value", "plain"), [(None, False), ("", False), ("true", True), ("1", True)])
def test_ci_is_what_pytest_takes_for_ci(monkeypatch: pytest.MonkeyPatch, value: str | None, plain: bool) -> None:
    monkeypatch.delenv("CI", raising=False)
    if value is not None:
        monkeypatch.setenv("CI", value)
    shown = Screen(monkeypatch, isatty=True)
    drawn: list[tuple[float, float]] = []
    monkeypatch.setattr(shown.progress, "_redraw", lambda *times: drawn.append(times))
    shown.signs(1, 2, 2.4, 2.5, 2.9, 3)
    assert (shown.lines != []) is plain
    assert drawn == ([] if plain else [(2, 60), (2.5, 60), (3, 60)])
