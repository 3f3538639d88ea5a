"""Results by situation. Every figure is written down, so that a page can be checked by hand."""

import math
import random
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from pytest_supervm.model import (
    SCHEMA,
    Action,
    Against,
    Case,
    Checked,
    Commit,
    Damage,
    Family,
    Gate,
    History,
    Location,
    Machine,
    Metric,
    Results,
    Row,
    Run,
    SelfCheck,
    Series,
    Verdict,
)

HERE = Machine(cpu="Fast CPU", cores=2, memory=8, os="Linux 6.1", python="CPython 3.11.7", id="a1")
ELSEWHERE = Machine(cpu="Other CPU", cores=64, memory=256, os="Linux 6.1", python="CPython 3.13.0", id="b2")
THROUGHPUT = Metric("throughput", "tx/s", "higher")
LATENCY = Metric("latency_p99", "s", "lower")
NOW = 400
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
PLACE = Location("tests/test_transfer.py", 12)
TRANSFER = "tests/test_transfer.py::test_transfer[4]"


def run(number=NOW, *cases, machine=HERE, **fields):
    return Run(
        **{
            "schema": SCHEMA,
            "id": f"{number:06}-{number:08x}",
            "time": (EPOCH + timedelta(hours=12 * number)).isoformat().replace("+00:00", "Z"),
            "commit": Commit(f"{(number * 2654435761) % 2**32:08x}" * 5, dirty=False, branch="main"),
            "machine": machine,
            "cases": cases,
            **fields,
        }
    )


def case(case_id=TRANSFER, *series, place=PLACE):
    return Case(
        id=case_id, location=place, series=series, parameters={"shards": "4"}, conditions={"calls per block": "128"}
    )


def series(metric, value, spread=0.01, launches=2, blocks=5):
    steps = [spread * (2 * at / (blocks - 1) - 1) for at in range(blocks)]
    return Series(metric=metric, launches=tuple(tuple(value * (1 + step) for step in steps) for _ in range(launches)))


def row(metric=THROUGHPUT, case_id=TRANSFER, **fields):
    return Row(
        **{
            "id": case_id,
            "location": PLACE,
            "metric": metric.name if metric else None,
            "unit": metric.unit if metric else None,
            "better": metric.better if metric else None,
            "verdict": Verdict.EQUIVALENT,
            "reason": "The whole interval lies inside the threshold.",
            **fields,
        }
    )


def judged(metric, baseline, candidate, margin, verdict, **fields):
    """A row whose effect follows from its figures."""
    effect = math.log(candidate / baseline) * (-1 if metric.better == "higher" else 1)
    return row(
        metric,
        **{
            "verdict": verdict,
            "baseline": baseline,
            "candidate": candidate,
            "effect": effect,
            "interval": (effect - margin, effect + margin),
            "confidence": 0.998,
            "launches": 11,
            "threshold": math.log(1.05) if metric.better == "lower" else -math.log(0.95),
            **fields,
        },
    )


def results(*rows, gate=Gate.PASS, reason="nothing got worse", **fields):
    measured = {
        one.id: case(one.id, *(series(metric_of(r), r.candidate) for r in rows if r.id == one.id and r.candidate))
        for one in rows
        if one.candidate is not None
    }
    return Results(
        **{
            "schema": SCHEMA,
            "gate": gate,
            "reason": reason,
            "family": Family(sum(one.threshold is not None for one in rows), 0.01),
            "run": run(NOW, *measured.values()),
            "cases": rows,
            "baseline": Against(name="main", runs=10, runs_of_this_machine=10),
            **fields,
        }
    )


def metric_of(one):
    return Metric(one.metric, one.unit, one.better)


def history(of, length=10, elsewhere=(), seed=1):
    """Kept runs of every row of `of` that has a baseline, scattered around it."""
    scatter = random.Random(seed)
    runs = []
    for number in range(length):
        cases = {}
        for one in of.cases:
            if one.baseline is not None:
                value = one.baseline * math.exp(scatter.gauss(0, 0.01))
                cases.setdefault(one.id, []).append(series(metric_of(one), value))
        members = (case(case_id, *measured) for case_id, measured in cases.items())
        runs.append(run(number, *members, machine=ELSEWHERE if number in elsewhere else HERE))
    return History("main", tuple(runs))


def passing():
    return results(
        judged(THROUGHPUT, 1.24e6, 1.23e6, 0.01, Verdict.EQUIVALENT),
        judged(LATENCY, 81.3e-6, 79.1e-6, 0.04, Verdict.IMPROVED),
    )


def blocking():
    return results(
        judged(
            THROUGHPUT,
            1.24e6,
            0.98e6,
            0.03,
            Verdict.REGRESSED,
            action=Action.BLOCK,
            reason="The interval excludes no change, and the estimate is beyond the threshold of 15 % that blocks.",
        ),
        judged(
            LATENCY,
            81.3e-6,
            84.0e-6,
            0.09,
            Verdict.INCONCLUSIVE,
            reason="The interval holds both no change and the threshold: more runs decide.",
        ),
        gate=Gate.BLOCK,
        reason="1 pair regressed beyond the threshold that blocks",
    )


def missing():
    gone = "tests/test_transfer.py::test_gone"
    return results(
        row(
            None,
            gone,
            verdict=Verdict.MISSING,
            action=Action.BLOCK,
            reason="main holds this case and the run that should hold it does not.",
        ),
        judged(THROUGHPUT, 1.24e6, 1.23e6, 0.01, Verdict.EQUIVALENT),
        gate=Gate.BLOCK,
        reason="1 case is missing",
    )


def without_baseline():
    return results(
        row(THROUGHPUT, verdict=Verdict.NEW, candidate=1.24e6, reason="There is no baseline."),
        row(LATENCY, verdict=Verdict.NEW, candidate=81.3e-6, reason="There is no baseline."),
        baseline=None,
        family=Family(0, 0.01),
        reason="no baseline was named, so nothing was compared",
    )


def unmeasured():
    few = "Only 200 of 1000 samples: raise --supervm-samples."
    return results(
        row(LATENCY, verdict=Verdict.UNMEASURED, threshold=math.log(1.1), action=Action.WARN, reason=few),
        row(Metric("cycles", "", "lower"), verdict=Verdict.UNMEASURED, reason="No counters on this machine."),
        gate=Gate.WARN,
        reason="1 figure could not be measured",
        run=run(NOW, case(TRANSFER, Series(metric=LATENCY, unmeasured=few))),
    )


def partial():
    """A run of some cases only, against a file with a line that cannot be read."""
    return results(
        judged(THROUGHPUT, 1.24e6, 1.23e6, 0.01, Verdict.EQUIVALENT),
        row(None, "tests/test_a.py::test_left", verdict=Verdict.NOT_SELECTED, reason="Not selected."),
        row(None, "tests/test_a.py::test_out", verdict=Verdict.NOT_SELECTED, reason="Not selected."),
        not_selected=2,
        baseline=Against(
            name="main",
            runs=10,
            runs_of_this_machine=7,
            damaged=(Damage("baselines/main.jsonl", 3, "it is cut off"),),
        ),
        notes=("The working tree has uncommitted changes.",),
    )


def a_pair(case_id=TRANSFER, metric="throughput", **fields):
    return Checked(
        **{
            "id": case_id,
            "metric": metric,
            "gates": 8,
            "alarms": 0,
            "alarm_rate": (0.0, 0.369),
            "improved": 0,
            "inconclusive": 0,
            "launches": 48,
            **fields,
        }
    )


def checked(**fields):
    """A run in which the gate was checked: one pair is told and confirmed, one is hopeless, one alarmed and missed."""
    pairs = (
        a_pair(spread=0.0081, smallest=math.log(1.021), extra=math.log(1.023), caught=True),
        a_pair(
            metric="latency_p99",
            improved=1,
            inconclusive=7,
            spread=0.4,
            remark="extra calls in a block do not show in this metric",
        ),
        a_pair(
            "tests/test_transfer.py::test_mint",
            gates=7,
            alarms=1,
            alarm_rate=(0.004, 0.579),
            spread=0.012,
            smallest=math.log(1.034),
            extra=math.log(1.04),
            caught=False,
        ),
    )
    check = SelfCheck(
        gates=8,
        alarms=1,
        improved=1,
        alarm_rate=(0.003, 0.527),
        seconds=291.0,
        budget=60.0,
        launches=24,
        family=Family(3, 0.01),
        cases=pairs,
        notes=("tests/test_transfer.py::test_mint was not checked to the end: its test failed",),
    )
    shown = without_baseline()
    return replace(shown, run=replace(shown.run, self_check=replace(check, **fields)))


HOSTILE = "tests/test_x.py::test[</script><script>alert(1)</script><b>&\"'\u2028\x1b[31m]"


def hostile():
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7 * 7 }}"
    metric = Metric(evil, evil, "lower")
    return results(
        judged(metric, 1.0, 1.2, 0.01, Verdict.REGRESSED, id=HOSTILE, reason=evil, action=Action.BLOCK),
        gate=Gate.BLOCK,
        reason=evil,
        notes=(evil,),
        baseline=Against(name=evil, runs=3, runs_of_this_machine=3, damaged=(Damage(evil, 1, evil),)),
        run=run(
            NOW,
            Case(
                id=HOSTILE,
                location=Location(evil, 1),
                parameters={evil: evil},
                features=(evil,),
                conditions={evil: evil},
                series=(series(metric, 1.2),),
            ),
            commit=Commit(evil, dirty=True, branch=evil),
            machine=Machine(cpu=evil, cores=1, memory=1, os=evil, python=evil, id=evil),
            settings={evil: evil},
            features=(evil,),
            self_check=replace(
                checked().run.self_check, cases=(a_pair(HOSTILE, evil, smallest=0.1, remark=evil),), notes=(evil,)
            ),
        ),
    )


def large(cases=200):
    """Many cases of every kind, worst first."""
    kinds = [
        (0.75, 0.03, Verdict.REGRESSED, Action.BLOCK),
        (0.92, 0.03, Verdict.REGRESSED, Action.WARN),
        (0.97, 0.06, Verdict.INCONCLUSIVE, None),
        (0.98, 0.01, Verdict.SLOWER, None),
        (1.2, 0.03, Verdict.IMPROVED, None),
        (1.0, 0.01, Verdict.EQUIVALENT, None),
    ]
    rows = []
    for number in range(cases):
        ratio, margin, verdict, action = kinds[min(number // 2, 5)]
        place = f"tests/test_mix_{number // 20}.py"
        rows.append(
            judged(
                THROUGHPUT,
                1e6 * (1 + number / 10),
                1e6 * (1 + number / 10) * ratio,
                margin,
                verdict,
                id=f"{place}::test_mix[{number}-zipf-{number % 7}]",
                location=Location(place, 10 + number),
                action=action,
                reason="The interval decides; see the chart for how the figure moved.",
            )
        )
    return results(*rows, gate=Gate.BLOCK, reason="2 pairs regressed beyond the threshold that blocks")
