"""Every option, ini key and marker, in one place, read once into one frozen `Settings`.

The command line stands over ``[tool.supervm]`` in the ``pyproject.toml`` of pytest's root directory, which stands over
the defaults below. Nothing here measures or judges, and importing it costs next to nothing: policies stay plain tables
until a run needs them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

GIT = "git:"
STORED = "stored:"
"""Beginnings of ``--supervm-baseline`` that say where the baseline comes from; without one it is kept."""

TIME = 1.0
"""Least seconds of timed work per case, unless somebody says otherwise."""

DUEL_TIME = 0.2
"""The same in a duel, on each side until the first look. It is spread over launches, and launches differ by more than
the blocks of one do: longer blocks would take time from further launches."""

SELF_CHECK = "5m"
"""How long ``--supervm-self-check`` takes unless it says otherwise."""

DURATION = re.compile(r"(\d+(?:\.\d+)?) ?(ms|s|m|min|h)?")
SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}

MARKERS = (
    "perf: the test measures something with the `measure` fixture",
    "supervm(METRIC={'warn': '5%', 'block': '15%', 'limit': '100 ms'}, ...): policies of this test's case",
)


class SettingsError(Exception):
    """A setting that cannot be used: what it is, why not, and what would do."""


@dataclass(frozen=True)
class Settings:
    """One invocation's settings.

    Attributes
    ----------
    baseline, save
        What to judge against, as it was written, and the name of the baseline to add the run to.
    json, report
        Files to write, or None.
    strict
        Whether the gate's ``warn`` and ``inconclusive`` fail the run too.
    store
        Where baselines are kept, relative to the root directory.
    level
        Family-wise error level of the gate.
    time
        Least seconds of timed work per case; None for `TIME`, or `DUEL_TIME` in a duel.
    max_time
        Seconds per case after which no further samples are taken for a quantile.
    wait
        Seconds to wait behind one and the same measurement of another process.
    budget
        Seconds that a duel may take; None for as long as its cases deserve.
    self_check
        Seconds to play gates of the suite against itself for, or None.
    policy
        Policy tables by metric, as written.
    metrics
        Declared metrics: name to a table with ``unit`` and ``better``.
    live
        How the sides of a live comparison are set up: a table with ``install``.
    """

    baseline: str | None = None
    save: str | None = None
    json: Path | None = None
    report: Path | None = None
    strict: bool = False
    store: str = "baselines"
    level: float = 0.01
    time: float | None = None
    max_time: float = 5.0
    wait: float = 600.0
    budget: float | None = None
    self_check: float | None = None
    policy: Mapping[str, object] = field(default_factory=dict)
    metrics: Mapping[str, object] = field(default_factory=dict)
    live: Mapping[str, str] = field(default_factory=dict)

    @property
    def install(self) -> str | None:
        """The command that installs a side of a live comparison in an environment of its own, None if none is given."""
        return self.live.get("install")

    @property
    def ref(self) -> str | None:
        """The git ref to duel with, None when the baseline is none or a kept one."""
        return self.baseline.removeprefix(GIT) if self.baseline is not None and self.baseline.startswith(GIT) else None

    @property
    def least(self) -> float:
        """Least seconds of timed work per case, where tests are measured in the process that runs them."""
        return TIME if self.time is None else self.time

    @property
    def duel_least(self) -> float:
        """The same in a duel."""
        return DUEL_TIME if self.time is None else self.time

    @property
    def duels(self) -> bool:
        """Whether a duel is played, or may have to be."""
        return self.ref is not None or self.confirms or self.self_check is not None

    @property
    def confirms(self) -> bool:
        """Whether a duel confirms what kept runs leave in doubt: unless they alone were asked for."""
        return self.kept is not None and not str(self.baseline).startswith(STORED)

    @property
    def kept(self) -> str | None:
        """The name of the kept baseline to judge against, None when there is none or a git ref stands for it."""
        return None if self.baseline is None or self.ref is not None else self.baseline.removeprefix(STORED)


OPTIONS = ("baseline", "save", "json", "report", "strict", "store", "time", "max_time", "budget", "self_check")
"""The command-line options ``--supervm-...``, each of which implies ``--supervm``."""

FILE_KEYS = ("store", "level", "time", "max_time", "wait", "policy", "metrics", "live")
"""The keys of ``[tool.supervm]``."""


def add_options(parser: pytest.Parser) -> None:
    """Register every command-line option."""
    group = parser.getgroup("supervm", "performance regressions (pytest-supervm)")
    group.addoption("--supervm", action="store_true", help="Measure; implied by every option below.")
    group.addoption(
        "--supervm-baseline",
        metavar="NAME",
        help="Judge this run against the runs kept under NAME, and live where they leave doubt (stored:NAME for the "
        "kept runs alone); or live against the merge base with a git ref (git:REF). Fail if the gate blocks.",
    )
    group.addoption("--supervm-save", metavar="NAME", help="Add this run to the baseline NAME.")
    group.addoption("--supervm-json", metavar="PATH", help="Write the results as JSON.")
    group.addoption("--supervm-report", metavar="PATH", help="Write one HTML file that opens offline.")
    group.addoption("--supervm-strict", action="store_true", help="Fail on a warning or an inconclusive gate too.")
    group.addoption("--supervm-store", metavar="FOLDER", help="Where baselines are kept (default: baselines).")
    group.addoption(
        "--supervm-time",
        metavar="DURATION",
        help="Least timed work per case, such as 500ms or 2s (default: 1s; in a live comparison 200ms on each side, "
        "spread over the first launches).",
    )
    group.addoption(
        "--supervm-max-time",
        metavar="DURATION",
        help="Most time per case for the samples that a quantile needs (default: 5s).",
    )
    group.addoption(
        "--supervm-budget",
        metavar="DURATION",
        help="Most time for a live comparison (default: 60s, or 3s a case where that is more).",
    )
    group.addoption(
        "--supervm-self-check",
        metavar="DURATION",
        nargs="?",
        const=SELF_CHECK,
        help=f"Play live comparisons of the suite with itself for so long (default: {SELF_CHECK}), and say how often "
        f"they raise a false alarm and how small a slowdown they would tell.",
    )


def is_active(config: pytest.Config) -> bool:
    """Tell whether anything is to be measured: ``--supervm``, or any option that implies it."""
    return any(config.getoption(name) not in (None, False) for name in ("supervm", *(f"supervm_{o}" for o in OPTIONS)))


def read(config: pytest.Config) -> Settings:
    """Read the settings of one invocation.

    Raises
    ------
    SettingsError
        An unknown key or an unusable value; the message lists what is known.
    """
    from_file = read_file(config.rootpath / "pyproject.toml")
    given = {name: value for name in OPTIONS if (value := config.getoption(f"supervm_{name}")) not in (None, False)}
    for name in ("json", "report"):
        if name in given:
            if given[name].endswith("/"):
                raise SettingsError(f"--supervm-{name}={given[name]}: name the file to write, not a folder")
            given[name] = config.invocation_params.dir / given[name]
    if "store" in given and "://" not in given["store"]:
        given["store"] = str(config.invocation_params.dir / given["store"])
    if given.get("baseline") in (GIT, STORED):
        raise SettingsError(f"--supervm-baseline={given['baseline']}: name a git ref or a baseline, such as git:main")
    for name in ("time", "max_time", "budget"):
        if name in given:
            given[name] = seconds(given[name], f"--supervm-{name.replace('_', '-')}")
    if "self_check" in given:
        given["self_check"] = _self_check(given["self_check"], given.get("baseline"))
    return Settings(**{**from_file, **given})


def read_file(path: Path) -> dict[str, object]:
    """Read ``[tool.supervm]`` from a ``pyproject.toml``; a file or table that is absent is empty.

    Raises
    ------
    SettingsError
        The file is not TOML, or the table has an unknown key or an unusable value.
    """
    try:
        text = path.read_bytes()
    except OSError:
        return {}
    return parse(text, path)


def parse(text: bytes, path: Path) -> dict[str, object]:
    """Read ``[tool.supervm]`` from the text of a ``pyproject.toml``; errors as of `read_file`."""
    import difflib
    import tomllib

    try:
        tools = tomllib.loads(text.decode()).get("tool", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from None
    where = f"[tool.supervm] in {path}"
    table = tools.get("supervm", {}) if isinstance(tools, dict) else {}
    if not isinstance(table, dict):
        raise SettingsError(f"{where} must be a table, not {table!r}")
    for key in table:
        if key not in FILE_KEYS:
            near = difflib.get_close_matches(key, FILE_KEYS, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise SettingsError(f"{where}: unknown key {key!r}: the known ones are {', '.join(FILE_KEYS)}{hint}")
    values = dict(table)
    for key in ("time", "max_time", "wait"):
        if key in values:
            values[key] = seconds(values[key], f"{where}: {key}")
    level = values.get("level", Settings.level)
    if not isinstance(level, float) or not 0 < level < 0.5:
        raise SettingsError(f"{where}: level must be a number above 0 and below 0.5, not {level!r}")
    if not isinstance(values.get("store", ""), str):
        raise SettingsError(f"{where}: store must be the name of a folder, not {values['store']!r}")
    for key in ("policy", "metrics", "live"):
        if not isinstance(values.get(key, {}), dict):
            raise SettingsError(f"{where}: {key} must be a table, not {values[key]!r}")
    live: dict[str, object] = values.get("live", {})
    for key, value in live.items():
        if key != "install" or not isinstance(value, str) or not value.strip():
            raise SettingsError(
                f"{where}: live has one key, install, a command such as \"pip install -e '.[test]'\", "
                f"not {key} = {value!r}"
            )
    return values


def seconds(text: object, where: str) -> float:
    """Read a duration such as ``500ms``, ``2s``, ``1.5m``, or a plain number of seconds.

    Raises
    ------
    SettingsError
        It is no duration above zero.
    """
    match = DURATION.fullmatch(str(text))
    value = float(match[1]) * SECONDS[match[2] or "s"] if match else 0.0
    if value <= 0:
        raise SettingsError(
            f"{where}: {text!r} is not a duration: write a number and ms, s, min or h, such as 500ms or 2s"
        )
    return value


def _self_check(text: str, baseline: str | None) -> float:
    """Read the duration of a self-check, which may have swallowed the path that followed it."""
    if baseline is not None:
        raise SettingsError(
            f"--supervm-self-check plays the suite against itself, and --supervm-baseline={baseline} against something "
            f"else: one invocation does one of them, so that its exit status has one meaning"
        )
    try:
        return seconds(text, "--supervm-self-check")
    except SettingsError as error:
        hint = f"to give it none before a path, write --supervm-self-check={SELF_CHECK} {text}"
        raise SettingsError(f"{error}; {hint}") from None


def as_text(settings: Settings) -> dict[str, str]:
    """Return what shaped the measuring, for the run's record."""
    if settings.ref is not None:
        return {"time": str(settings.duel_least), "baseline": str(settings.baseline)}
    return {"time": str(settings.least), "max_time": str(settings.max_time)}
