"""Where the benchmarks write: each owns one section of docs/performance.md and rewrites it as a whole.

A section stands between two comments that carry the script's name. Nobody edits it by hand: run the script.
"""

from __future__ import annotations

import datetime
import statistics
from collections.abc import Sequence
from pathlib import Path

from pytest_supervm.measure import provenance

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
HEAD = """# Performance

Every table on this page is written by the script that its section names, as ratios taken in one run on one machine,
medians with the middle half of the rounds in brackets. Run the script to have the figures of your machine.
"""


def write(script: str, title: str, prose: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Replace the section of `script` in docs/performance.md, or add it, and print it."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *rows)]
    machine = provenance.machine()
    commit = provenance.commit(PAGE.parent, PAGE.parent)
    where = (
        f"{machine.cpu}, {machine.cores} cores, {machine.memory} GiB, {machine.os}, {machine.python}; "
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}" + (f", commit {commit.id[:10]}" if commit else "")
    )
    start, end = f"<!-- {script}: start -->\n", f"<!-- {script}: end -->\n"
    body = (
        f"## {title}\n\n{prose.strip()}\n\n`python benchmarks/{script}.py` on {where}:\n\n" + "\n".join(lines) + "\n\n"
    )
    page = PAGE.read_text() if PAGE.exists() else HEAD
    if start in page:
        before, rest = page.split(start)
        page = before + start + body + end + rest.split(end)[1]
    else:
        page += f"\n{start}{body}{end}"
    PAGE.write_text(page)
    print(body)


def spread(values: Sequence[float], form: str = "{:.3g}") -> str:
    """Write a median and the middle half: ``1.20 [1.18, 1.25]``."""
    low, median, high = statistics.quantiles(values, n=4)
    return f"{form.format(median)} [{form.format(low)}, {form.format(high)}]"
