"""The commands of a page of documentation, run as a reader would type them.

A page is Markdown. Three kinds of fenced blocks matter, taken from top to bottom:

- a block with a title, such as ``python title="test_x.py"``, is written to a file of that name in bash's folder;
- a ``console`` block holds commands (``$ command``, continued by ``> ...``), each followed by its output;
- any other block is left alone.

All commands of a page run in one bash, so that a variable or an activated environment lasts, and in one empty folder.
A command must exit with status 0, unless the next command is ``echo $?``: then with the status that is shown there.
Output is compared by doctest's own checker: ``...`` stands for anything, and the amount of white space does not matter.
A number with its sign and unit prefix stands for any other, as figures differ from machine to machine; statuses, which
are shown alone, do not. A note that the machine was busy may come or stay away.
"""

from __future__ import annotations

import doctest
import importlib.metadata
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

LEFT_OUT = ("make ", "git clone ", "cd pytest-supervm", "sudo ")
"""Commands that are not run: they set up a machine or a checkout, or are tested as a whole elsewhere."""

INSTALL = re.compile(r"(python3? -m )?pip install (-\S+ )*'?pytest-supervm(\[\w+\])?'?")
"""The command that the checkout under test stands in for: its own environment has everything that this installs."""

FENCE = re.compile(r"^(?P<fence>```+)(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=fence)[ ]*$", re.MULTILINE | re.DOTALL)
TITLE = re.compile(r'\btitle="([^"]+)"')
NUMBER = re.compile(
    r"\d{4}-\d\d-\d\dT[\d:]+\+00:00"  # a time
    r"|(?<![\w.])[-+]?\d+(?:[.,:]\d+)*(?:e[-+]?\d+)?(?: (?:[kMG](?= )|[num]?s\b|[kMGT]?B\b)|s\b)?"
)
BUSY = re.compile(r"note: \S+ the machine was busy: the test waited for a core \d+% of the time")
PATIENCE = 120.0
"""Seconds that one command may take."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, the file that it is, its text, and the line on which it begins."""

    language: str
    title: str | None
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Command:
    """A command as it is typed, what it prints, and the line of the page on which it stands."""

    text: str
    output: str
    line: int


def blocks(text: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    for match in FENCE.finditer(text):
        info = match["info"].strip()
        title = TITLE.search(info)
        line = text.count("\n", 0, match.start()) + 1
        yield Block(info.split(" ")[0], title[1] if title else None, match["body"], line)


def commands(block: Block) -> Iterator[Command]:
    """Yield the commands of a ``console`` block."""
    typed: list[tuple[int, list[str], list[str]]] = []
    for number, line in enumerate(block.text.splitlines(), block.line + 1):
        if line.startswith("$ "):
            typed.append((number, [line[2:]], []))
        elif line.startswith("> ") and typed and not typed[-1][2]:
            typed[-1][1].append(line[2:])
        elif typed:
            typed[-1][2].append(line)
        else:
            raise AssertionError(f"line {number}: a console block begins with a command, not with {line!r}")
    for number, words, output in typed:
        yield Command("\n".join(words), "\n".join(output), number)


def runs(text: str) -> bool:
    """Tell whether a page has anything to run."""
    return any(block.language == "console" for block in blocks(text))


def check(page: Path, folder: Path) -> None:
    """Write the page's files into `folder` and run its commands there.

    Raises
    ------
    AssertionError
        A command ended or printed otherwise than the page says; the message names page, line and difference.
    """
    where = page.relative_to(ROOT) if page.is_relative_to(ROOT) else page.name
    with Shell(folder, page.stem) as shell:
        for block in blocks(page.read_text()):
            if block.title is not None:
                target = Path(shell.run("pwd")[1].strip()) / block.title
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(block.text)
            elif block.language == "console":
                typed = list(commands(block))
                for at, command in enumerate(typed):
                    if not command.text.startswith(LEFT_OUT) and not INSTALL.match(command.text):
                        following = typed[at + 1] if at + 1 < len(typed) else None
                        _check(shell, command, following, f"{where}:{command.line}: $ {command.text}")


def _check(shell: Shell, command: Command, following: Command | None, where: str) -> None:
    wanted = int(following.output) if following is not None and following.text == "echo $?" else 0
    status, printed = shell.run(command.text)
    assert status == wanted, f"{where}\nended with status {status}, not {wanted}, and printed:\n{printed}"
    if command.text == "echo $?":
        assert printed.strip() == command.output.strip(), where
        return
    wanted_output = re.sub(r"\s*\.\.\.\s*", "...", _plain(command.output))  # also where there is nothing to leave out
    checker, example = doctest.OutputChecker(), doctest.Example("", wanted_output)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    if not checker.check_output(example.want, _plain(printed), flags):
        difference = checker.output_difference(example, _plain(printed), flags | doctest.REPORT_NDIFF)
        raise AssertionError(f"{where}\n{difference}\nIt printed:\n{printed}")


def _plain(output: str) -> str:
    """Return output with one number for all numbers, one length for all rules, and no note of a busy machine."""
    joined = BUSY.sub("", " ".join(output.split()))
    words = re.sub(r"([=-])\1{3,}", r"\1\1\1", NUMBER.sub("0", joined))
    return "\n".join(words.split(" ")) + "\n"  # a word a line, for a difference that can be read


class Shell:
    """One bash in one folder, with the environment of a reader who has installed the plugin and nothing else."""

    def __init__(self, folder: Path, page: str) -> None:
        self._folder = folder
        self._page = page

    def __enter__(self) -> Shell:
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=self._folder,
            env=environment(self._page),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._status = 0
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def run(self, command: str) -> tuple[int, str]:
        """Run a command after the ones before it; return its exit status and what it printed."""
        end = f"--- the end of {os.urandom(8).hex()} ---"
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        before, after = f"(exit {self._status})", f"printf '\\n%s %s\\n' {shlex.quote(end)} $?"
        self._process.stdin.write(f"{before}; eval {shlex.quote(command)} < /dev/null; {after}\n")
        self._process.stdin.flush()
        lines = []
        for line in self._process.stdout:
            if line.startswith(end):
                self._status = int(line.removeprefix(end))
                return self._status, "".join(lines)
            lines.append(line)
        raise AssertionError(f"bash ended at {command!r} and printed:\n{''.join(lines)}")


def environment(page: str = "") -> dict[str, str]:
    """Return this process's environment without what this pytest or its plugins left in it, and with a plain terminal.

    Other plugins that happen to be installed beside ours are switched off, for a reader of the page has not got them;
    those that the page's name names stay.
    """
    installed = importlib.metadata.entry_points(group="pytest11")
    others = {point.name for point in installed if point.name != "supervm" and point.name not in page}
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST_", "COV_", "COVERAGE_")) and name not in ("CI", "GITHUB_ACTIONS", "PYTHONPATH")
    }
    return kept | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', os.defpath)}",
        "PYTEST_ADDOPTS": " ".join(f"-p no:{name}" for name in sorted(others)),
        "COLUMNS": "80",
        "TERM": "dumb",
    }
