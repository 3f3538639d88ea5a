"""Change points: from which run on the figures of a history are others, and which commits lie in between.

A history is cut where the machine or the settings change, and each stretch is looked at by itself, so that no change
is ever claimed across such a cut. Values are natural logarithms, turned so that larger is worse. The search is circular
binary segmentation (A. B. Olshen, E. S. Venkatraman, R. Lucito, M. Wigler, "Circular binary segmentation for the
analysis of array-based DNA copy number data", Biostatistics 5 (2004), 557-572): of all ways to set a run of
neighbouring values apart from the rest, take the one that explains most of the sum of squares; a step is one that ends
where the history ends, and a regression that was mended again is one in the middle, which a search for single steps
would miss. Then the same within each part.

The significance is a permutation test, as in E-divisive (D. S. Matteson and N. A. James, "A nonparametric approach for
multiple change point analysis of multivariate data", J. Am. Statist. Assoc. 109 (2014), 334-345): how often the same
values in a shuffled order show a step as clear. It holds whatever the noise is, normal, heavy-tailed or tied, as long
as runs of unchanged code are independent of each other; a slow drift is a change to it. `family.cut_off` keeps the
share of false finds among all series that are searched. Shuffles are drawn from a fixed seed, so that a history shows
the same change points to everyone.

No library does the search: ruptures has no release for Python 3.14, Apache Otava pins one version of NumPy and brings
clients of five services along, and pelt fails on histories of less than a few dozen runs. What is left of the method
after NumPy's cumulative sums is a page.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from pytest_supervm.judge.family import cut_off
from pytest_supervm.judge.verdict import NEGLIGIBLE
from pytest_supervm.model import ChangePoint, Changes, Metric, Run, Series, Sighting

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FEWEST_RUNS = 12
"""Runs below which a history shows nothing. Three values far out among ten stand together, where a change could be, in
every thirtieth shuffle: that cannot be told from luck."""

SHORTEST = 3
"""Runs on either side of a change point: one or two far out are bad luck, and three in a row a new state."""

MOST_RUNS = 100
"""Newest runs of a stretch that are looked at: there are half as many ways to set runs apart as the square of these."""

FALSE_SHARE = 0.05
"""Expected share of false ones among the series with change points; where nothing changed, the probability of any."""

SHUFFLES = 9999
"""Most orders that are drawn for a series: the smallest p-value is one ten-thousandth."""

ENOUGH = 20
"""Shuffles as clear as the series itself after which no more are drawn."""

AT_ONCE = 200_000
"""Numbers that are worked on together: 1.6 MB, which stay in a processor's cache."""

SEED = 20_040_101
DIGITS = 9
"""Decimals of a logarithm that count: without this, the rounding errors of a change of units would break ties."""


@dataclass(frozen=True, slots=True)
class Track:
    """The figures of one case and metric in one stretch of the history: runs that hold it, and its values there."""

    id: str
    metric: Metric
    runs: Sequence[Run]
    values: Sequence[float]

    @property
    def worse(self) -> list[float]:
        """Log values, turned so that larger is worse."""
        sign = -1.0 if self.metric.better == "higher" else 1.0
        return [sign * math.log(value) for value in self.values]


def find(runs: Sequence[Run], wanted: Mapping[str, Collection[str]]) -> Changes:
    """Find the change points of a history.

    Parameters
    ----------
    runs
        Oldest first. The last one says which machine is looked at; runs of others are left out.
    wanted
        The metrics of each case, by case id.

    Returns
    -------
    Changes
        Change points of less than one percent are left out.
    """
    here = [run for run in runs if run.machine == runs[-1].machine]
    tracks = list(_tracks(here, wanted))
    long = [track for track in tracks if len(track.runs) >= FEWEST_RUNS]
    fit = [track for track in long if min(track.values) > 0]
    level = cut_off([clearest(track.worse)[0] for track in fit], FALSE_SHARE)
    age = {run.id: len(here) - at for at, run in enumerate(here)}
    points = (point for track in fit for point in _points(track, segments(track.worse, level), age))
    return Changes(
        series=len(fit),
        short=len(tracks) - len(long),
        zero=len(long) - len(fit),
        fewest=FEWEST_RUNS,
        share=FALSE_SHARE,
        points=tuple(points),
    )


def segments(values: Sequence[float], level: float) -> dict[int, float]:
    """Return where a series of values changes, and the p-value of each place, in order.

    Parameters
    ----------
    values
        Log values, oldest first.
    level
        Largest p-value that is believed.

    Returns
    -------
    dict
        Index of the first value after each change.
    """
    p_value, places = clearest(values)
    if p_value > level:
        return {}
    found = dict.fromkeys(places, p_value)
    for start, end in zip((0, *places), (*places, len(values)), strict=True):
        found |= {start + place: p for place, p in segments(values[start:end], level).items()}
    return dict(sorted(found.items()))


def clearest(values: Sequence[float]) -> tuple[float, tuple[int, ...]]:
    """Return the clearest change within a series of values: its p-value, and the one or two places where it changes.

    The p-value is 1 for a series in which nothing differs or that is too short.
    """
    import numpy as np

    n = len(values)
    if n < 2 * SHORTEST:
        return 1.0, ()
    median = statistics.median(values)
    centred = np.round([value - median for value in values], DIGITS)
    centred -= centred.mean()
    if not np.ptp(centred):
        return 1.0, ()
    gains = _gains(centred[np.newaxis])[0]
    best = int(gains.argmax())
    starts, ends, _ = _parts(n)
    places = tuple(int(place) for place in (starts[best], ends[best]) if 0 < place < n)
    return _p_value(centred, float(gains[best])), places


def _p_value(values: NDArray[np.float64], gain: float) -> float:
    """Return how often shuffled values show a gain as large.

    Drawing stops at the shuffle that makes `ENOUGH` of them, and the p-value is their share; else it counts the series
    itself as one more. Either way it is below any x with probability x at most where nothing changed (J. Besag and P.
    Clifford, "Sequential Monte Carlo p-values", Biometrika 78 (1991), 301-304).
    """
    import numpy as np

    rng = np.random.default_rng(SEED)
    at_once = max(1, AT_ONCE // len(_parts(len(values))[0]))
    drawn = reached = 0
    while drawn < SHUFFLES:
        number = min(at_once, max(5 * ENOUGH, drawn), SHUFFLES - drawn)
        shuffled = rng.permuted(np.tile(values, (number, 1)), axis=1)
        (clear,) = np.nonzero(_gains(shuffled).max(axis=1) >= gain * (1 - 1e-9))
        if reached + len(clear) >= ENOUGH:
            return ENOUGH / (drawn + int(clear[ENOUGH - reached - 1]) + 1)
        reached += len(clear)
        drawn += number
    return (1 + reached) / (1 + drawn)


def _gains(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sum of squares that each way to set neighbours apart explains, for each row of mean zero.

    As shuffling leaves the total alone, this orders shuffled rows as the t statistic would.
    """
    import numpy as np

    starts, ends, weights = _parts(rows.shape[1])
    sums = np.concatenate([np.zeros((len(rows), 1)), rows.cumsum(axis=1)], axis=1)
    gains: NDArray[np.float64] = (sums[:, ends] - sums[:, starts]) ** 2 * weights
    return gains


@functools.lru_cache(maxsize=64)
def _parts(n: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Return the ways to set neighbours among n values apart: starts, ends, and the weight of their squared sum.

    Each part and what is left of it on either side has `SHORTEST` values or, at an end, none. A part at the end is the
    same change as the one at the beginning that it leaves, and only that is listed.
    """
    import numpy as np

    pairs = [(0, end) for end in range(SHORTEST, n - SHORTEST + 1)]
    pairs += [
        (start, end)
        for start in range(SHORTEST, n - 2 * SHORTEST + 1)
        for end in range(start + SHORTEST, n - SHORTEST + 1)
    ]
    starts, ends = np.array(pairs, dtype=np.intp).T
    inside = (ends - starts).astype(np.float64)
    return starts, ends, n / (inside * (n - inside))


def _tracks(here: Sequence[Run], wanted: Mapping[str, Collection[str]]) -> Iterator[Track]:
    """Yield what is looked at: each case and metric, in each stretch of equal settings."""
    held: dict[tuple[str, str], list[list[tuple[Run, Series]]]] = {}
    for _, stretch in groupby(here, key=lambda run: run.settings):
        for key, series in _series(list(stretch)).items():
            held.setdefault(key, []).append(series)
    for case_id, names in wanted.items():
        for name in names:
            stretches = held.get((case_id, name), [])
            for stretch_of_it in stretches:
                metric = stretches[-1][-1][1].metric  # what it means today
                alike = [(run, one.value) for run, one in stretch_of_it if one.metric == metric][-MOST_RUNS:]
                if alike:
                    yield Track(case_id, metric, [run for run, _ in alike], [value or 0.0 for _, value in alike])


def _series(runs: Sequence[Run]) -> dict[tuple[str, str], list[tuple[Run, Series]]]:
    """Return the runs that measured each case and metric, with what they measured."""
    held: dict[tuple[str, str], list[tuple[Run, Series]]] = {}
    for run in runs:
        for case in run.cases:
            for series in case.series:
                if series.launches:
                    held.setdefault((case.id, series.metric.name), []).append((run, series))
    return held


def _points(track: Track, places: Mapping[int, float], age: Mapping[str, int]) -> Iterable[ChangePoint]:
    worse = track.worse
    bounds = [0, *places, len(worse)]
    for start, place, end in zip(bounds, bounds[1:], bounds[2:], strict=False):
        before, after = worse[start:place], worse[place:end]
        effect = statistics.fmean(after) - statistics.fmean(before)
        if abs(effect) < NEGLIGIBLE:
            continue
        last, first = track.runs[place - 1], track.runs[place]
        commits, remark = _range(last, first)
        yield ChangePoint(
            id=track.id,
            metric=track.metric.name,
            unit=track.metric.unit,
            better=track.metric.better,
            index=place,
            age=age[first.id],
            effect=effect,
            p_value=places[place],
            before=statistics.geometric_mean(track.values[start:place]),
            after=statistics.geometric_mean(track.values[place:end]),
            runs=(len(before), len(after)),
            last=Sighting(last.id, last.time, last.commit),
            first=Sighting(first.id, first.time, first.commit),
            commits=commits,
            remark=remark,
        )


def _range(last: Run, first: Run) -> tuple[str | None, str]:
    """Name the commits between two runs, and say what is doubtful about them."""
    sides = {"before": last.commit, "after": first.commit}
    if unknown := [side for side, commit in sides.items() if commit is None]:
        return None, f"the run {' and the run '.join(unknown)} the change knows no commit"
    assert last.commit is not None
    assert first.commit is not None
    name = f"{last.commit.id[:7]}..{first.commit.id[:7]}"
    if dirty := [side for side, commit in sides.items() if commit is not None and commit.dirty]:
        return (
            name,
            f"the run {' and the run '.join(dirty)} the change had uncommitted changes, which may have brought it",
        )
    if last.commit.id == first.commit.id:
        return name, "both runs are of the same commit: the environment changed, not the code"
    return name, ""
