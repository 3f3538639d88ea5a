"""The command ``supervm``: the laboratory's rooms without pytest.

``supervm baseline`` looks after what is kept. Other packages add commands of their own by the entry point group
``supervm.commands``; they are loaded when they are asked for, so that a broken one breaks nothing else. The exit
status is 0, 1 for what the message says, and 2 for a command line that was not understood.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib.metadata import EntryPoint, entry_points
from os.path import relpath
from pathlib import Path
from typing import Any

import click
import msgspec

from pytest_supervm import units
from pytest_supervm.baselines import BaselineError, Store, open_store
from pytest_supervm.model import History, Run
from pytest_supervm.settings import Settings, SettingsError, read_file, seconds

COMMANDS = "supervm.commands"
"""Entry point group of further commands. Each entry is a `click.Command`."""


class _Main(click.Group):
    """Our own commands, and those of other packages."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *entry_points(group=COMMANDS).names})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        own = super().get_command(ctx, cmd_name)
        return own or next((_load(found) for found in entry_points(group=COMMANDS, name=cmd_name)), None)


class _Baseline(click.Group):
    """Commands whose `BaselineError` is a message for people."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BaselineError as error:
            raise click.ClickException(str(error)) from error


@click.group("supervm", cls=_Main, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pytest-supervm")
def main() -> None:
    """Measure, judge, keep and show."""


@main.group(cls=_Baseline)
@click.option("--store", metavar="PATH", help="Where baselines are kept  [default: as pyproject.toml says]")
@click.pass_context
def baseline(context: click.Context, store: str | None) -> None:
    """Look after the runs that are kept under a name."""
    context.obj = store


@baseline.command("list")
@click.pass_obj
def list_(location: str | None) -> None:
    """List the baselines."""
    store = _open(location)
    rows, failed = [], False
    for name in store.names():
        try:
            history = _load_history(store, name)
        except BaselineError as error:
            click.echo(f"Error: {error}", err=True)
            failed = True
            continue
        newest = history.runs[-1] if history.runs else None
        machines = len({run.machine for run in history.runs})
        rows.append(
            (
                name,
                str(len(history.runs)),
                str(machines),
                newest.time if newest else "-",
                _commit(newest) if newest else "-",
                str(len(history.damaged)),
            )
        )
    if rows:
        _table(("name", "runs", "machines", "newest", "commit", "damaged lines"), rows)
    elif not failed:
        click.echo("There is no baseline yet: save one with pytest --supervm-save=NAME")
    if failed:
        raise click.exceptions.Exit(1)


@baseline.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print the records, one JSON object per line.")
@click.pass_obj
def show(location: str | None, name: str, as_json: bool) -> None:
    """Show the runs of the baseline NAME, and the newest value of each case and metric."""
    history = _load_history(_open(location), name)
    if as_json:
        for run in history.runs:
            click.echo(msgspec.json.encode(run))
        return
    if not history.runs:
        click.echo(f"{name} holds no run that can be read")
        return
    _table(
        ("run", "time", "commit", "machine", "cases"),
        ((run.id, run.time, _commit(run), _machine(run), str(len(run.cases))) for run in history.runs),
    )
    click.echo()
    _table(
        ("case", "metric", "newest value"),
        (
            (case.id, series.metric.name, series.unmeasured or units.quantity(series.value, series.metric.unit))
            for case in history.living_cases().values()
            for series in case.series
        ),
    )


@baseline.command()
@click.argument("name")
@click.option("--keep", type=click.IntRange(min=1), required=True, help="How many of the newest runs stay.")
@click.pass_obj
def prune(location: str | None, name: str, keep: int) -> None:
    """Remove the oldest runs of the baseline NAME. Damaged lines stay."""
    store = _open(location)
    removed = store.prune(name, keep)
    left = len(_load_history(store, name).runs)
    click.echo(f"{name}: {_count(removed, 'run')} removed, {left} kept")


@baseline.command()
@click.argument("old")
@click.argument("new")
@click.pass_obj
def rename(location: str | None, old: str, new: str) -> None:
    """Call the baseline OLD NEW from now on."""
    store = _open(location)
    store.rename(old, new)
    click.echo(f"{old} is called {new} now, with {_count(len(_load_history(store, new).runs), 'run')}")


@main.command("bisect")
@click.argument("case")
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[-- PYTEST OPTIONS]")
@click.option("--good", metavar="REF", required=True, help="A commit at which the case was still as it should be.")
@click.option("--bad", metavar="REF", required=True, help="A later commit at which it is worse.")
@click.option("--metric", default="throughput", show_default=True, help="The metric that got worse.")
@click.option("--budget", metavar="DURATION", help="Most time for the duel of each commit  [default: 60s]")
@click.option("--json", "json", metavar="PATH", type=click.Path(path_type=Path), help="Write what was found as JSON.")
def bisect_(
    case: str, options: tuple[str, ...], good: str, bad: str, metric: str, budget: str | None, json: Path | None
) -> None:
    """Find the commit between two that made CASE, a node id, worse: each duels with the good one.

    The exit status is 0 if it was found, 3 if the bad commit is not worse than the good one, 4 if commits that had to
    be skipped leave several.
    """
    from pytest_supervm.bisect import BisectError, Question, bisect, conclusion
    from pytest_supervm.report.files import ReportError, write_json

    question = Question(case, metric, good, bad, budget, options)
    try:
        if budget is not None:
            seconds(budget, "--budget")
        found = bisect(question, Path.cwd(), lambda line: click.echo(_printable(line)))
        status, lines = conclusion(found, Path.cwd())
        for line in lines:
            click.echo(_printable(line))
        if json is not None:
            write_json(found, json)
    except (BisectError, SettingsError, ReportError) as error:
        raise click.ClickException(str(error)) from error
    raise click.exceptions.Exit(status)


def _open(location: str | None) -> Store:
    here = Path.cwd()
    if location is not None:
        return open_store(location, here)
    root, configured = _configured_store(here)
    if "://" in configured or Path(configured).expanduser().is_absolute():
        return open_store(configured, root)
    return open_store(relpath(root / configured, here), here)  # so that messages name paths that open from here


def _configured_store(here: Path) -> tuple[Path, str]:
    """Return the folder of the nearest pyproject.toml (or `here`), and the store that it names."""
    file = next((file for folder in (here, *here.parents) if (file := folder / "pyproject.toml").is_file()), None)
    if file is None:
        return here, Settings.store
    try:
        return file.parent, str(read_file(file).get("store", Settings.store))
    except SettingsError as error:
        raise click.ClickException(f"{error}: correct it, or give --store PATH") from error


def _load_history(store: Store, name: str) -> History:
    history = store.load(name)
    for damage in history.damaged:
        click.echo(f"Warning: {damage}", err=True)
    return history


def _commit(run: Run) -> str:
    if run.commit is None:
        return "-"
    return f"{run.commit.id[:10]}{' (dirty)' if run.commit.dirty else ''}"


def _machine(run: Run) -> str:
    machine = run.machine
    return f"{machine.cpu}, {_count(machine.cores, 'core')}, {machine.memory} GiB, Python {machine.python}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print columns. What a record holds may not steer the terminal, so that only printable signs get there."""
    lines = [
        titles,
        *([_printable(cell) for cell in row] for row in rows),
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _printable(text: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", "\N{REPLACEMENT CHARACTER}", text)


def _load(found: EntryPoint) -> click.Command:
    """Return the command, or one that says why there is none."""
    try:
        command = found.load()
    except Exception as error:  # whatever a stranger's module raises
        return _broken(found, f"{type(error).__name__}: {error}{_remedy(found, error)}")
    if not isinstance(command, click.Command):
        return _broken(found, f"{found.value} is not a click command")
    return command


def _broken(found: EntryPoint, reason: str) -> click.Command:
    package = f" of {found.dist.name}" if found.dist else ""

    def fail() -> None:
        raise click.ClickException(f"the command {found.name!r}{package} cannot be loaded: {reason}")

    return click.Command(
        found.name,
        callback=fail,
        short_help=f"(cannot be loaded: {reason})",
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )


def _remedy(found: EntryPoint, error: Exception) -> str:
    """Return the command that installs a missing module, if one of the package's extras holds it."""
    if not isinstance(error, ModuleNotFoundError) or not error.name or not found.dist:
        return ""
    module = _normal(error.name.partition(".")[0])
    for requirement in found.dist.requires or ():
        name, extra = re.match(r"[\w.-]*", requirement), re.search(r"extra\s*==\s*['\"]([\w.-]+)", requirement)
        if name and extra and _normal(name[0]) == module:
            return f': install it with pip install "{found.dist.name}[{extra[1]}]"'
    return f": install {error.name}"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
