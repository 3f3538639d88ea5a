"""Two sides measured in turns: what their launches say, look by look.

The independent sample is the launch pair: the mean of the middle half, over its turns, of the log ratios of the
candidate's block to the baseline's, turned so that positive is worse. The two blocks of a turn are milliseconds apart,
so their ratio is rid of what the machine did meanwhile; the ratio of either side's median is not. (In forty launch
pairs of six cases on a busy machine, the standard deviation between launch pairs was 4 % less than with the median
ratio and 7 % less than with the ratio of medians.) From n launch pairs comes an estimate: the
mean trimmed by a tenth at either end with its winsorised variance, and Student's t with the degrees of freedom of what
is left (K. K. Yuen, "The two-sample trimmed t for unequal population variances", Biometrika 61 (1974), 165-170; the
one-sample form is J. W. Tukey and D. H. McLaughlin's). Six launches lose none to it, and it is the plain t; from twelve
on, a launch that fell into a bad second no longer widens the interval. Whether to trim is not left to the data: a
choice would have to be paid for.

There are looks after `LOOKS` launches. Look k spends level * 2**-k, so that all of them together spend less than the
level; at each, Holm's procedure is applied to the family, which is fixed at the first. A pair that was rejected at an
earlier look stays rejected and its step stays taken: when the first true null falls at look k, only false ones have
fallen before, so it was held against at most level * 2**-k over the number of true nulls.

A pair that is decided keeps the interval that decided it, except an equivalent one whose estimate is beyond
`verdict.NEGLIGIBLE`: without the exception, one in three slowdowns of 3 % would be waved through as "less than 5 %" at
the first look that is sure of that, and never be called slower. Equal code pays little for it, since its estimates are
seldom there; for symmetry, gains are measured on too.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from pytest_supervm.judge import rows
from pytest_supervm.judge.estimate import Estimate
from pytest_supervm.judge.family import holm
from pytest_supervm.judge.policy import NO_POLICY, Policy
from pytest_supervm.judge.verdict import NEGLIGIBLE, decide
from pytest_supervm.model import Action, Case, Family, Row, Series, Verdict

LOOKS = (6, 12, 24, 48)
"""Launch pairs after which the verdict is looked for."""

TRIMMED = 0.1
"""Share of the launch pairs left out at either end, rounded down: none of six, one of twelve, four of 48."""

SPREAD_FLOOR = 0.001
"""Smallest standard deviation between launch pairs that is believed: a tenth of a percent. Equal ratios are luck, or
too coarse a clock."""

ONE_THREAD = 0.05
"""How far CPU time and the wait for a core may be from wall time, as a share of it, for one busy thread."""

Key = tuple[str, str]
"""Case id and metric name."""

Policies = Mapping[str, Policy]
Pairs = Sequence[tuple[Case, Case]]
"""A case's record in each launch pair: baseline, candidate."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is known about one case and metric.

    Attributes
    ----------
    estimate
        From the launches of the look that decided, or of the last one.
    alpha
        Two-sided error level of its interval.
    verdict
        By interval and threshold.
    launches
        Launch pairs it rests on.
    """

    estimate: Estimate
    alpha: float
    verdict: Verdict
    launches: int

    @property
    def rejected(self) -> bool:
        """Whether the interval excludes that nothing changed."""
        return self.estimate.p_value <= self.alpha

    @property
    def open(self) -> bool:
        """Whether more launches may tell more: no verdict yet, or equivalent where the estimate is worth a word.

        An interval that lies inside the threshold excludes a regression and may still hold a slowdown that is real:
        as long as the estimate says so, it is measured on.
        """
        if self.verdict is Verdict.EQUIVALENT:
            return abs(self.estimate.effect) > NEGLIGIBLE
        return self.verdict is Verdict.INCONCLUSIVE


@dataclass(slots=True)
class Jury:
    """The family of one duel, and what has been decided.

    Attributes
    ----------
    thresholds
        Relative threshold of every case and metric that has a policy.
    level
        Family-wise error level of all looks together.
    family
        Fixed at the first look: those with a threshold and an estimate.
    decisions
        By case and metric; one that is open is replaced at the next look, but no verdict by none.
    looks
        How many have been held.
    """

    thresholds: Mapping[Key, float]
    level: float
    family: tuple[Key, ...] = ()
    decisions: dict[Key, Decision] = field(default_factory=dict)
    looks: int = 0

    def look(self, samples: Mapping[Key, Sequence[float]]) -> None:
        """Judge what is not decided yet by all its launches so far.

        Parameters
        ----------
        samples
            Effects by case and metric, one per launch pair.
        """
        self.looks += 1
        if self.looks == 1:
            self.family = tuple(key for key in self.thresholds if len(samples.get(key, ())) > 1)
        estimates = {key: estimate(samples[key]) for key in self.open if len(samples.get(key, ())) > 1}
        p_values = [
            0.0 if self._fell(key) else estimates[key].p_value if key in estimates else 1.0 for key in self.family
        ]
        for key, alpha in zip(self.family, holm(p_values, self.level * 0.5**self.looks), strict=True):
            if key in estimates:
                found = estimates[key]
                verdict = decide(found.effect, found.interval(alpha), self.thresholds[key])
                if verdict is not Verdict.INCONCLUSIVE or not self._is_equivalent(key):
                    self.decisions[key] = Decision(found, alpha, verdict, len(samples[key]))

    @property
    def open(self) -> list[Key]:
        """Members of the family that are measured again: not decided, or decided with something still to be said."""
        return [key for key in self.family if key not in self.decisions or self.decisions[key].open]

    def _fell(self, key: Key) -> bool:
        return key in self.decisions and self.decisions[key].rejected

    def _is_equivalent(self, key: Key) -> bool:
        return key in self.decisions and self.decisions[key].verdict is Verdict.EQUIVALENT


def estimate(effects: Sequence[float]) -> Estimate:
    """Estimate the effect from one log ratio per launch pair, at least two.

    Trimmed mean, winsorised standard error, and n - 2 g - 1 degrees of freedom, with g trimmed at either end.
    """
    ordered = sorted(effects)
    n = len(ordered)
    g = math.floor(TRIMMED * n)
    kept = ordered[g : n - g]
    winsorised = [kept[0]] * g + kept + [kept[-1]] * g
    spread = max(statistics.stdev(winsorised), SPREAD_FLOOR)
    error = spread * math.sqrt((n - 1) / (len(kept) * (len(kept) - 1)))
    return Estimate(statistics.fmean(kept), error, len(kept) - 1)


def effects(pairs: Pairs, *, by_cpu: bool) -> dict[str, list[float]]:
    """Return one log ratio per launch pair for every metric that has figures above zero on both sides of all of them.

    Parameters
    ----------
    pairs
        A case's records.
    by_cpu
        Whether the effect on throughput is that on CPU time, seen from the other side.
    """
    found = {}
    for series in pairs[0][1].series if pairs else ():
        metric = series.metric
        source = "cpu_time" if by_cpu and metric.name == "throughput" else metric.name
        sign = -1.0 if metric.better == "higher" and source == metric.name else 1.0
        ratios = [_log_ratio(before, after, source) for before, after in pairs]
        if None not in ratios:
            found[metric.name] = [sign * ratio for ratio in ratios if ratio is not None]
    return found


def _log_ratio(before: Case, after: Case, metric: str) -> float | None:
    """Return the effect in one launch pair; figures that are no blocks of turns are compared as they are."""
    old, new = before.get(metric), after.get(metric)
    if old is None or new is None or old.metric != new.metric:
        return None
    turns = list(zip(_values(old), _values(new), strict=False))
    if len(_values(old)) != len(_values(new)):
        turns = [(old.value or 0, new.value or 0)]
    if not turns or min(map(min, turns)) <= 0:
        return None
    ratios = sorted(math.log(after / before) for before, after in turns)
    quarter = len(ratios) // 4
    return statistics.fmean(ratios[quarter : len(ratios) - quarter])


def _values(series: Series) -> tuple[float, ...]:
    """Return the blocks of a record, which is of one launch."""
    return series.launches[0] if series.launches else ()


def one_busy_thread(wall: Iterable[int], cpu: Iterable[int], delay: Iterable[int], switches: Iterable[int]) -> bool:
    """Tell whether a side's blocks show one thread that never waits for anything but a core.

    Parameters
    ----------
    wall, cpu, delay
        Per block: wall time, CPU time of all threads, and the measuring thread's wait for a core, in one unit.
    switches
        Voluntary context switches per block.
    """
    busy = [(used + waited) / max(passed, 1) for passed, used, waited in zip(wall, cpu, delay, strict=True)]
    return bool(busy) and not any(switches) and abs(statistics.median(busy) - 1) <= ONE_THREAD


def thresholds(policies: Mapping[str, Policies]) -> dict[Key, float]:
    """Return the relative threshold of every case and metric that has one."""
    return {
        (case_id, metric): policy.threshold
        for case_id, table in policies.items()
        for metric, policy in table.items()
        if policy.threshold is not None
    }


@dataclass(frozen=True, slots=True)
class Bout:
    """All that one case showed.

    Attributes
    ----------
    case
        The candidate's record, its launches joined.
    baseline
        Likewise of the other side; None where that lacks the case or did not measure it.
    policies
        By metric.
    effects
        One log ratio per launch pair, by metric.
    by_cpu
        Whether CPU time stands for throughput.
    absence
        Why there is no baseline.
    remark
        What a reader must know about the case, or nothing.
    """

    case: Case
    baseline: Case | None
    policies: Policies
    effects: Mapping[str, Sequence[float]]
    by_cpu: bool = False
    absence: str = "the merge base lacks this case"
    remark: str = ""


def joined(records: Sequence[Case]) -> Case:
    """Join a case's records, one of each launch, into one; a metric keeps the launches in which it has a value."""
    first = records[-1]
    series = []
    for last in first.series:
        launches = [
            launch
            for record in records
            if (one := record.get(last.metric.name)) is not None and one.metric == last.metric
            for launch in one.launches
        ]
        unmeasured = None if launches else last.unmeasured
        series.append(msgspec.structs.replace(last, launches=tuple(launches), unmeasured=unmeasured))
    return msgspec.structs.replace(first, series=tuple(series))


def judge(bouts: Iterable[Bout], jury: Jury, why_no_more: str) -> tuple[list[Row], Family]:
    """Return the rows of the cases that the candidate measured, worst first, and the family.

    Parameters
    ----------
    bouts
        One per case.
    jury
        After its last look.
    why_no_more
        Why inconclusive cases were not measured further, as the end of a sentence.
    """
    found = []
    for bout in bouts:
        found += [_row(bout, series, jury, why_no_more) for series in bout.case.series]
        if bout.baseline is not None:
            reason = "the merge base has this metric and its test no longer records it"
            found += rows.absent_metrics(bout.case, bout.baseline, bout.policies, reason)
    return sorted(found, key=rows.badness), Family(len(jury.family), jury.level)


def _row(bout: Bout, series: Series, jury: Jury, why_no_more: str) -> Row:
    before = bout.baseline.get(series.metric.name) if bout.baseline else None
    if before is not None and before.launches and series.launches:
        series = _whole(bout, series, before)
    metric, value = series.metric, series.value
    policy = bout.policies.get(metric.name, NO_POLICY)
    old = before.value if before is not None and before.metric == metric and value is not None else None
    decision = _decision(bout, metric.name, jury) if value is not None and old is not None else None
    verdict, reason = _verdict(bout, series, old, decision, why_no_more)
    effect = decision.estimate.effect if decision else None
    action = rows.action(policy, effect, verdict)
    threshold = rows.shown_threshold(policy, action)
    if (limited := rows.limit(policy, value, metric)) is not None:
        broken, sentence = limited
        if broken or threshold is None:
            reason = sentence
        if broken:
            action = Action.BLOCK
    if decision is not None and metric.name == "throughput":
        reason += ", by CPU time: each side kept one thread busy" if bout.by_cpu else ", by wall time"
    return Row(
        id=bout.case.id,
        location=bout.case.location,
        metric=metric.name,
        unit=metric.unit,
        better=metric.better,
        verdict=verdict,
        reason=f"{reason}; {bout.remark}" if bout.remark else reason,
        effect=effect,
        interval=decision.estimate.interval(decision.alpha) if decision else None,
        confidence=1 - decision.alpha if decision else None,
        baseline=old,
        candidate=value,
        launches=decision.launches if decision else len(series.launches),
        threshold=threshold,
        limit=policy.limit,
        action=action,
    )


def _whole(bout: Bout, series: Series, before: Series) -> Series:
    """Return the series, or why it counts as unmeasured: without a value in each launch there is no interval."""
    launches = max(len(one.launches) for one in bout.case.series)
    both = min(len(series.launches), len(before.launches))
    if both == launches:
        return series
    reason = f"only {both} of {launches} launches have a value of it on both sides: raise --supervm-time"
    return msgspec.structs.replace(series, launches=(), unmeasured=reason)


def _decision(bout: Bout, metric: str, jury: Jury) -> Decision | None:
    """Return what the jury decided; a figure outside its family is described at its level, uncorrected."""
    if (known := jury.decisions.get((bout.case.id, metric))) is not None:
        return known
    sample = bout.effects.get(metric, ())
    if len(sample) < 2:
        return None
    found = estimate(sample)
    threshold = bout.policies.get(metric, NO_POLICY).threshold
    verdict = decide(found.effect, found.interval(jury.level), None) if threshold is None else Verdict.INCONCLUSIVE
    return Decision(found, jury.level, verdict, len(sample))


def _verdict(
    bout: Bout, series: Series, old: float | None, decision: Decision | None, why_no_more: str
) -> tuple[Verdict, str]:
    if series.value is None:
        return Verdict.UNMEASURED, series.unmeasured or "nothing was measured"
    if bout.baseline is None:
        return Verdict.NEW, bout.absence
    if old is None:
        return Verdict.NEW, "the merge base has no value of this metric"
    if decision is not None:
        policy = bout.policies.get(series.metric.name, NO_POLICY)
        reason = rows.because(decision.verdict, policy, decision.estimate.effect, series.metric.better)
        open_still = decision.verdict is Verdict.INCONCLUSIVE and policy.threshold is not None
        return decision.verdict, reason + (f"; {why_no_more}" if open_still else "")
    if series.value == old == 0:
        return Verdict.EQUIVALENT, "zero on both sides"
    if min(series.value, old) <= 0 or len(series.launches) > 1:
        return Verdict.INCONCLUSIVE, "a value of zero or below has no ratio: give this metric a limit instead"
    return Verdict.INCONCLUSIVE, f"one launch pair does not show how launches differ; {why_no_more}"
