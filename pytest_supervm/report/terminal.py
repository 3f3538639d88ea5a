"""The terminal section: a line per case and metric, the reasons that matter, and the gate's verdict last.

Lines are values, not output: each is ASCII text with a style, which the plugin translates into the markup of pytest's
terminal writer. Columns are aligned over the whole section and meant for 80 columns. Where they do not fit, a metric's
name moves to a line of its own; nothing is ever cut off. Characters that are not printable ASCII are escaped, because
names come from files that anyone may have written, and a terminal obeys control characters.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from pytest_supervm.model import Results, Row, SelfCheck, Verdict
from pytest_supervm.report import selfcheck, wording
from pytest_supervm.units import quantity

Style = Literal["plain", "good", "warn", "bad", "dim", "bold"]

WIDTH: Final = 80
GAP: Final = "  "


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the section.

    Attributes
    ----------
    text
        Printable ASCII without a line end.
    style
        What the line means; how that looks is the terminal writer's choice.
    """

    text: str
    style: Style = "plain"

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", _printable(self.text))


def lines(results: Results, *, verbose: bool, width: int = WIDTH) -> Iterator[Line]:
    """Say what a run showed, the gate's verdict last.

    Parameters
    ----------
    results
        What to show. Its rows are grouped by case, in the order of each case's first row.
    verbose
        Show figures without a policy, and name the cases that were not selected.
    width
        Columns of the terminal.

    Yields
    ------
    Line
        The section without its title; never empty.
    """
    rows = [row for row in results.cases if row.verdict is not Verdict.NOT_SELECTED]
    shown = [row for row in rows if verbose or results.baseline is None or wording.has_policy(row)]
    yield from _cases(shown, judged=results.baseline is not None, width=width)
    if hidden := len(rows) - len(shown):
        yield Line(f"{wording.count(hidden, 'figure')} without a policy; -v shows them", "dim")
    yield from _not_selected(results, verbose)
    if (check := results.run.self_check) is not None:
        yield from _self_check(check, width)
    for damage in results.baseline.damaged if results.baseline else ():
        yield from _paragraph(f"damaged: {damage}", "", "warn", width)
    for note in results.notes:
        yield from _paragraph(f"note: {note}", "", "plain", width)
    if results.changes and (sentence := wording.recent_changes(results.changes)):
        yield from _paragraph(f"history: {sentence}", "", "plain", width)
    basis = f"{wording.family(results)} {wording.opponent(results)}: " if results.baseline else ""
    yield Line(f"supervm gate: {results.gate.upper()} - {basis}{results.reason}", wording.GATE_TONES[results.gate])


def _cases(rows: Sequence[Row], *, judged: bool, width: int) -> Iterator[Line]:
    table = _align([_cells(row, judged=judged) for row in rows])
    fits = all(len(GAP) + len(GAP.join(cells).rstrip()) <= width for cells in table)
    by_case: dict[str, list[tuple[Row, Sequence[str]]]] = {}
    for row, cells in zip(rows, table, strict=True):
        by_case.setdefault(row.id, []).append((row, cells))
    for case_id, members in by_case.items():
        yield Line(case_id, "bold")
        for row, (metric, *figures) in members:
            if fits:
                yield Line(GAP + GAP.join([metric, *figures]).rstrip(), wording.tone(row))
            else:
                if metric.strip():
                    yield Line(GAP + metric.rstrip(), wording.tone(row))
                yield Line(2 * GAP + GAP.join(figures).rstrip(), wording.tone(row))
            if wording.needs_attention(row) and not _is_short(row.reason):
                yield from _paragraph(row.reason, 2 * GAP, "plain", width)


def _cells(row: Row, *, judged: bool) -> tuple[str, ...]:
    outcome = f"{wording.word(row)} {wording.action(row)}".rstrip()
    if wording.needs_attention(row) and _is_short(row.reason):
        outcome += f": {row.reason}"
    if judged:
        return (row.metric or "", wording.figures(row), wording.change(row), wording.interval(row), outcome)
    if row.candidate is None:
        return (row.metric or "", outcome, "")
    return (row.metric or "", quantity(row.candidate, row.unit), wording.action(row))


def _is_short(reason: str) -> bool:
    """Tell whether a reason is a word or two, which go on the line of the verdict."""
    return reason.count(" ") < 2


def _align(table: Sequence[Sequence[str]]) -> list[list[str]]:
    """Pad every column to its widest cell; changes in percent, the third of five columns, end where the others end."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        [f"{cell:{'>' if len(cells) == 5 and at == 2 else '<'}{widths[at]}}" for at, cell in enumerate(cells)]
        for cells in table
    ]


def _self_check(check: SelfCheck, width: int) -> Iterator[Line]:
    """Say what gates of the suite against itself showed."""
    yield from _paragraph(selfcheck.title(check), "", "bold", width)
    header, *table = _align([selfcheck.HEADER, *map(selfcheck.cells, check.cases)])
    if table:
        yield Line(GAP + GAP.join(header).rstrip(), "dim")
    last = None
    for one, cells in zip(check.cases, table, strict=True):
        if one.id != last:
            yield Line(last := one.id, "bold")
        yield Line(GAP + GAP.join(cells).rstrip(), "warn" if one.alarms or one.caught is False else "plain")
    for remark in selfcheck.remarks(check):
        yield from _paragraph(remark, GAP, "plain", width)
    yield from _paragraph(f"self-check: {selfcheck.worth(check)}", "", "bold", width)


def _not_selected(results: Results, verbose: bool) -> Iterator[Line]:
    ids = list(dict.fromkeys(row.id for row in results.cases if row.verdict is Verdict.NOT_SELECTED))
    if number := results.not_selected or len(ids):
        hint = "; -v names them" if ids and not verbose else ""
        yield Line(f"{wording.count(number, 'case')} of the baseline not selected in this run{hint}", "dim")
        yield from (Line(GAP + case_id, "dim") for case_id in (ids if verbose else ()))


def _paragraph(text: str, indent: str, style: Style, width: int) -> Iterable[Line]:
    wrapped = textwrap.wrap(
        text, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return (Line(line, style) for line in wrapped)


def _printable(text: str) -> str:
    return "".join(sign if " " <= sign <= "~" else sign.encode("unicode_escape").decode() for sign in text)
