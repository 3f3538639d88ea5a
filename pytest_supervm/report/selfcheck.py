"""What a self-check showed, in words and cells that the terminal and the page share.

Slowdowns are said as extra work: ``2.1 %`` is a case that does in 1.021 of the time what it did in one, whichever
direction is better for the metric.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from pytest_supervm.model import Checked, SelfCheck
from pytest_supervm.report.wording import count

HEADER: Final = ("metric", "false alarms", "spread", "tells", "extra work")

NAMED: Final = 3
"""Pairs that a remark names before it counts the rest."""


def cells(checked: Checked) -> tuple[str, ...]:
    """Return the line of one case and metric, under `HEADER`."""
    spread = "-" if checked.spread is None else f"{100 * checked.spread:.2f} %"
    return (checked.metric, rate(checked), spread, worse(checked.smallest), confirmation(checked))


def rate(found: Checked | SelfCheck) -> str:
    """Write how many gates raised an alarm, and the interval of the rate: ``0 of 8, 0-36.9 %``."""
    low, high = (f"{100 * end:.3g}" for end in found.alarm_rate)
    return f"{found.alarms} of {found.gates}, {low}-{high} %"


def worse(effect: float | None) -> str:
    """Write a slowdown as extra work; ``-`` where even twice the work may be missed."""
    return "-" if effect is None else f"{100 * math.expm1(effect):.1f} %"


def confirmation(checked: Checked) -> str:
    """Say whether the extra work was told: ``2.3 % told``."""
    if checked.extra is None:
        return "-"
    return f"{worse(checked.extra)} {'told' if checked.caught else 'MISSED'}"


def title(check: SelfCheck) -> str:
    """Say how much was played."""
    return (
        f"self-check: {count(check.gates, 'gate')} of this suite against itself in {check.seconds:.0f} s; "
        f"a budget of {check.budget:g} s allows {count(check.launches, 'launch pair')}"
    )


def worth(check: SelfCheck) -> str:
    """Say in a sentence what "no regression" is worth: by metric, for the case that is seen least."""
    low, high = (f"{100 * end:.3g}" for end in check.alarm_rate)
    alarms = (
        f"{check.alarms} of {count(check.gates, 'gate')} of unchanged code raised an alarm, so between {low} and "
        f"{high} % of all do"
    )
    if not check.cases:
        return f"nothing was judged, so 'no regression' means nothing here; {alarms}"
    least: dict[str, float] = {}
    for one in check.cases:
        if one.smallest is not None:
            least[one.metric] = max(one.smallest, least.get(one.metric, 0.0))
    hidden = sum(one.smallest is None for one in check.cases)
    told = " and ".join(f"{worse(effect)} in {metric}" for metric, effect in least.items())
    seen = f"a slowdown of a single case is told in 95 of 100 gates from {told} on" if least else ""
    missed = f"in {hidden} of {count(len(check.cases), 'pair')} even twice the work may be missed" if hidden else ""
    return f"{', but '.join(filter(None, (seen, missed)))}; {alarms}"


def remarks(check: SelfCheck) -> Iterator[str]:
    """Say what else a reader must know: improvements that were none, what was not confirmed, and notes."""
    if check.improved:
        yield f"{count(check.improved, 'gate')} of unchanged code called something improved"
    reasons: dict[str, list[str]] = {}
    for one in check.cases:
        if one.remark is not None:
            reasons.setdefault(one.remark, []).append(f"{one.id} ({one.metric})")
    for reason, pairs in reasons.items():
        more = f" and {len(pairs) - NAMED} more" if len(pairs) > NAMED else ""
        yield f"no extra work in {', '.join(pairs[:NAMED])}{more}: {reason}"
    yield from check.notes
