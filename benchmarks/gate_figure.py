"""The figure of docs/explanation/duels.md, drawn from the gates that `gate_quality.py` played.

A dot is one case in one gate: its change against unchanged code, in percent of time, so that right is worse. Rows are
ways to judge. The band is what a rule of 5 % lets pass. Written as SVG by hand: dots, lines and words need no library.

    python benchmarks/gate_figure.py
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

LOG = Path(__file__).with_name("gate_quality.jsonl")
FIGURE = Path(__file__).parents[1] / "docs" / "explanation" / "duels.svg"

REACH = 20.0
"""Percent to either side of the axis; what lies farther out is drawn at the edge, as an arrow."""

WIDTH, LEFT, RIGHT, ROW, TOP = 880, 250, 40, 64, 40
THRESHOLD = 5.0

ROWS = (
    ("two sessions of pytest-benchmark", "equal code", "pytest-benchmark: equal", False),
    ("live duel, quiet machine", "equal code", "equal, quiet", False),
    ("live duel, noisy neighbour", "equal code", "equal, noisy", False),
    ("live duel", "3 % more work", "3 % more", True),
    ("live duel", "8 % more work", "8 % more", True),
)
"""Two lines of words, the kind of gate, and whether only the case that was changed is shown."""


def draw(log: Sequence[Mapping[str, Any]]) -> None:
    """Draw the figure from the lines of the log."""
    height = TOP + ROW * len(ROWS) + 44
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="13">',
        "<title>Changes measured between equal and between different code, by two sessions and by live duels</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<rect x="{_x(-THRESHOLD):.1f}" y="{TOP}" width="{_x(THRESHOLD) - _x(-THRESHOLD):.1f}" '
        f'height="{ROW * len(ROWS)}" fill="#e8eef4"/>',
        f'<text x="{_x(0):.1f}" y="{TOP - 12}" text-anchor="middle" fill="#333">within 5 %</text>',
    ]
    for percent in range(-int(REACH), int(REACH) + 1, 5):
        x, bottom = _x(percent), TOP + ROW * len(ROWS)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}" stroke="#c8ced6" stroke-width="1"/>')
        parts.append(
            f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle" fill="#333">{_signed(percent)} %</text>'
        )
    parts.append(
        f'<text x="{_x(0):.1f}" y="{TOP + ROW * len(ROWS) + 38}" text-anchor="middle" fill="#333">'
        "time, against unchanged code</text>"
    )
    for place, (first, second, kind, only_slowed) in enumerate(ROWS):
        middle = TOP + ROW * place + ROW / 2
        changes = list(_changes(log, kind, only_slowed=only_slowed))
        words = (escape(first), escape(f"{second}, {len(changes)} comparisons"))
        for line, text in enumerate(words):
            y, weight = middle - 3 + 17 * line, "normal" if line else "bold"
            parts.append(f'<text x="10" y="{y:.1f}" fill="#111" font-weight="{weight}">{text}</text>')
        parts += _dots(changes, middle, seed=place)
    FIGURE.write_text("\n".join([*parts, "</svg>"]) + "\n")


def _changes(log: Sequence[Mapping[str, Any]], kind: str, *, only_slowed: bool) -> Iterator[float]:
    """Yield the changes that the gates of a kind measured, in percent."""
    for gate in log:
        if gate["kind"] == kind:
            for case, row in gate["rows"].items():
                effect = row[1] if isinstance(row, list) else row
                if effect is not None and (not only_slowed or case == gate["slowed"]):
                    yield 100 * math.expm1(effect)


def _dots(changes: Sequence[float], middle: float, seed: int) -> Iterator[str]:
    rng = random.Random(seed)  # dots of equal figures must not hide each other
    for change in changes:
        y = middle + rng.uniform(-0.36, 0.36) * ROW
        if abs(change) > REACH:
            arrow, x = ("&#9654;", _x(REACH)) if change > 0 else ("&#9664;", _x(-REACH))
            yield f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle" font-size="9" fill="#a3341f">{arrow}</text>'
        else:
            colour = "#1f5fa3" if abs(change) < THRESHOLD else "#a3341f"
            yield f'<circle cx="{_x(change):.1f}" cy="{y:.1f}" r="2.2" fill="{colour}" fill-opacity="0.55"/>'


def _signed(percent: int) -> str:
    return f"{percent:+d}" if percent else "0"


def _x(percent: float) -> float:
    return LEFT + (percent + REACH) / (2 * REACH) * (WIDTH - LEFT - RIGHT)


if __name__ == "__main__":
    draw([json.loads(line) for line in LOG.read_text().splitlines()])
