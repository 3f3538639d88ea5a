"""What the match and its children say to each other: JSON lines over two pipes.

The parent sends a `Brief`, the child answers `Collected`. For each case the parent sends `Open`; the child runs the
test, which answers `Ready` once it is warm; `Begin` fixes what a block is and is answered `Ready` too, and each `Turn`
times one and answers `Timed`, until `Finish`. When the test is over, with or without having measured, the child answers
`Done`. A pipe that closes ends the child: it never outlives its parent. Times are in nanoseconds.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from pytest_supervm.model import Location, Metric

T = TypeVar("T")

CHUNK = 1 << 16


class Brief(msgspec.Struct, tag=True, kw_only=True):
    """What a child must know before it can start.

    Attributes
    ----------
    args
        Command line of its pytest.
    tree
        Its own checkout.
    other
        The checkout of the other side.
    sources
        Folders of the checkout that stand first on the path.
    block
        Nanoseconds that a block should last.
    metrics
        The known metrics by name.
    venv
        The side's own environment, empty where it has none.
    distributions
        Names under which the project is installed.
    """

    args: list[str]
    tree: str
    other: str
    sources: list[str]
    block: float
    metrics: dict[str, Metric]
    venv: str
    distributions: list[str]


class Open(msgspec.Struct, tag=True):
    """Run a test; `following` is the one after it, whose fixtures may stay."""

    nodeid: str
    following: str | None


class Begin(msgspec.Struct, tag=True):
    """What a block is: so many calls, each timed alone or not, on this core if one is named.

    Where the number of rounds is fixed, it is so many rounds. `extra` calls are made beyond that and not booked: work
    that a self-check adds, to see whether it is told.
    """

    calls: int
    stamped: bool
    core: int | None
    extra: int = 0


class Turn(msgspec.Struct, tag=True):
    """Time one block."""


class Finish(msgspec.Struct, tag=True):
    """There are no further blocks of this case."""


class Found(msgspec.Struct):
    """A measuring test: where it is, a hash of its source, and the words of its markers ``supervm``, nearest first."""

    nodeid: str
    location: Location
    source: str
    markers: list[dict[str, Any]]


class Collected(msgspec.Struct, tag=True):
    """What a child found: measuring tests, files that could not be collected and why, and where modules came from.

    Strays are modules of the project from elsewhere, and why; built are its extension modules, as paths in its tree.
    """

    tests: list[Found]
    broken: dict[str, str]
    strays: dict[str, str]
    built: list[str]


class Ready(msgspec.Struct, tag=True):
    """A call is warm: how long it takes, and how many threads it keeps busy.

    Where every call counts, neither is known beforehand, but how many rounds there will be; else that is 0.
    """

    call: float
    threads: float
    rounds: int = 0


class Timed(msgspec.Struct, tag=True):
    """A block: wall and CPU time, the wait for a core, and voluntary context switches."""

    wall: int
    cpu: int
    delay: int
    switches: int


class Done(msgspec.Struct, tag=True):
    """A test is over: its reports, and where the modules came from that it brought, as in `Collected`."""

    reports: list[dict[str, Any]]
    strays: dict[str, str]
    built: list[str]


Command = Brief | Open | Begin | Turn | Finish
Reply = Collected | Ready | Timed | Done


class Closed(Exception):  # noqa: N818  # nothing went wrong
    """The other end has closed the pipe."""


class Channel:
    """One end of a conversation.

    Parameters
    ----------
    reading, writing
        File descriptors; closed with the channel.
    hears
        The type of what arrives: `Command` or `Reply`.
    """

    def __init__(self, reading: int, writing: int, hears: Any) -> None:
        self._reading = reading
        self._writing = writing
        self._decoder = msgspec.json.Decoder(hears)
        self._encoder = msgspec.json.Encoder(enc_hook=repr)
        self._buffer = b""

    def send(self, message: Command | Reply) -> None:
        """Send a message.

        Raises
        ------
        Closed
            Nobody listens any more.
        """
        rest = memoryview(self._encoder.encode(message) + b"\n")
        try:
            while rest:
                rest = rest[os.write(self._writing, rest) :]
        except BrokenPipeError:
            raise Closed from None

    def receive(self, alive: Callable[[], bool] | None = None) -> Any:
        """Wait for a message.

        Parameters
        ----------
        alive
            Asked now and then while nothing arrives: a process forked by the other end may hold the pipe open.

        Raises
        ------
        Closed
            The other end is gone.
        """
        while b"\n" not in self._buffer:
            if alive is not None and not select.select([self._reading], [], [], 1.0)[0]:
                if alive():
                    continue
                raise Closed
            chunk = os.read(self._reading, CHUNK)
            if not chunk:
                raise Closed
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return self._decoder.decode(line)

    def close(self) -> None:
        """Close both ends; the other side notices."""
        os.close(self._reading)
        os.close(self._writing)
