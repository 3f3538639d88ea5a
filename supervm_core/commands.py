"""The subject's commands, which the entry point group `supervm.commands` mounts on the command `supervm`.

They read the command line, print, and give the exit status; `supervm_core.bench` measures. Compiled code loads when
something is measured: importing this module loads neither it nor numba.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from supervm_core.bench import (
    CALLED,
    Load,
    Plan,
    ProgramLength,
    number,
    plan_mixed,
    plan_partitioned,
    require_writable,
    table,
    write_json,
)
from supervm_core.engine import PARTITIONS
from supervm_core.errors import SuperVMError

Command = TypeVar("Command", bound=Callable[..., None])


def _words(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Split at the commas."""
    words = [word.strip() for word in value.split(",")] if value is not None else []
    if not all(words):
        raise click.BadParameter(f"{value!r} has nothing where a value should be; fill it in, or leave the comma out")
    return tuple(words)


def _numbers(context: click.Context, option: click.Parameter, value: str) -> tuple[int, ...]:
    """Read whole numbers with commas between them."""
    words = _words(context, option, value)
    wrong = [word for word in words if not (word.isascii() and word.removeprefix("-").isdigit())]
    if wrong:
        raise click.BadParameter(f"{wrong[0]!r} is not a whole number; write numbers and commas, such as 1,2,4,8")
    return tuple(map(int, words))


@click.group("bench")
def bench() -> None:
    """Measure the executor, and check every result.

    Speeds stand beside the limit of this machine and the specification. The exit status is 1 if a result differs from
    the specification's.
    """


def _load_options(command: Command) -> Command:
    """Add the options that every bench has, in the order in which help shows them."""
    for option in reversed(
        [
            click.option("--txs", metavar="N", type=int, default=Load.txs, show_default=True, help="Transactions."),
            click.option(
                "--accounts",
                metavar="N",
                type=int,
                default=Load.accounts,
                show_default=True,
                help="Accounts.",
            ),
            click.option("--zipf", metavar="S", type=float, help="Skew of senders and receivers  [default: uniform]"),
            click.option("--threads", metavar="N", type=int, help="Threads at most  [default: as the path chooses]"),
            click.option(
                "--rounds", metavar="N", type=int, default=Load.rounds, show_default=True, help="Rounds that count."
            ),
            click.option("--seed", metavar="N", type=int, default=Load.seed, show_default=True, help="Another draw."),
            click.option("--json", metavar="PATH", type=click.Path(path_type=Path), help="Write the rows as JSON."),
        ]
    ):
        command = option(command)
    return command


@bench.command()
@click.option(
    "--partitions", metavar="N,N,...", callback=_numbers, default="1,2,4,8", show_default=True, help="A row for each."
)
@click.option(
    "--cross", metavar="PERCENT", type=float, help="Transactions to another partition  [default: as they come]"
)
@click.option("--program", type=click.Choice(list(CALLED)), help="Calls of that program in place of transfers.")
@click.option("--features", metavar="A,-B", callback=_words, help="Features on, or off with a minus sign.")
@_load_options
def partitioned(
    partitions: tuple[int, ...],
    cross: float | None,
    program: ProgramLength | None,
    features: tuple[str, ...],
    json: Path | None,
    **load: Any,
) -> None:
    """Transfers, or calls, with several numbers of partitions."""
    _run(
        lambda: plan_partitioned(Load(**load), partitions=partitions, cross=cross, program=program, features=features),
        json,
    )


@bench.command()
@click.option("--calls", metavar="PERCENT", type=float, default=20, show_default=True, help="Transactions that call.")
@click.option("--conflicts", metavar="PERCENT", type=float, help="Calls that share one pool  [default: as they come]")
@click.option("--partitions", metavar="N", type=int, default=PARTITIONS, show_default=True, help="Partitions.")
@_load_options
def mixed(calls: float, conflicts: float | None, partitions: int, json: Path | None, **load: Any) -> None:
    """Transactions of all kinds, with the executor's features on and off."""
    _run(lambda: plan_mixed(Load(**load), partitions=partitions, call_percent=calls, conflicts=conflicts), json)


def _run(make_plan: Callable[[], Plan], json: Path | None) -> None:
    """Refuse what cannot be done, then measure, print and write; a difference is exit status 1."""
    try:
        if json is not None:
            require_writable(json)
        plan = make_plan()
    except SuperVMError as error:
        raise click.UsageError(str(error), click.get_current_context()) from error
    except MemoryError as error:
        raise _too_large() from error
    click.echo(plan.what)
    try:
        rows = plan.measure()
        click.echo(
            f"limit {number(rows[0].limit / 1e6)} M writes/s, "
            f"reference {number(rows[0].reference_tps / 1e6)} M tx/s, medians with the middle half of the rounds"
        )
        click.echo()
        names = [case.name for case in plan.cases]
        for line in table(plan.column, names, rows):
            click.echo(line)
        if json is not None:
            write_json(rows, json)
            click.echo(f"wrote {json}")
    except SuperVMError as error:
        raise click.ClickException(str(error)) from error
    except MemoryError as error:
        raise _too_large() from error
    wrong = [(name, row.difference) for name, row in zip(names, rows, strict=True) if not row.equal]
    for name, difference in wrong:
        click.echo(f"NOT EQUAL, {plan.column} {name}: {difference}", err=True)
    if wrong:
        raise click.ClickException(
            "a result is not the specification's, so its speed means nothing: report the command and the lines above"
        )


def _too_large() -> click.ClickException:
    return click.ClickException("the memory of this machine is not enough: choose a smaller --txs or --accounts")
