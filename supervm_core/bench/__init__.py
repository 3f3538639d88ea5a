"""What the executor achieves, beside what the machine could: every figure with its equality check.

`tps` counts from decoded columns to receipts, nonces included. `limit` is the physical bound: independent
read-modify-writes of as many random balances, prefetched, one thread. A transfer changes two balances, so half of the
limit is what transfers could reach if they cost nothing else. `reference_tps` is the specification's speed. All of them
are taken in turns in the same run.

A plan says what will be measured and refuses what cannot be; `Plan.measure` does it. Neither numba nor compiled code
loads before that.
"""

from supervm_core.bench.equality import CHECKED, TIMED, Expected, prepared
from supervm_core.bench.loads import (
    conflicting,
    crossing,
    one_key,
    replaced,
    share_that_crosses,
    skewed,
    uniform_places,
)
from supervm_core.bench.plans import BOTH, CALLED, Case, Load, Plan, ProgramLength, plan_mixed, plan_partitioned
from supervm_core.bench.report import SCHEMA, Row, machine, number, require_writable, table, write_json
from supervm_core.bench.timing import Spread, Timed

__all__ = [
    "BOTH",
    "CALLED",
    "CHECKED",
    "SCHEMA",
    "TIMED",
    "Case",
    "Expected",
    "Load",
    "Plan",
    "ProgramLength",
    "Row",
    "Spread",
    "Timed",
    "conflicting",
    "crossing",
    "machine",
    "number",
    "one_key",
    "plan_mixed",
    "plan_partitioned",
    "prepared",
    "replaced",
    "require_writable",
    "share_that_crosses",
    "skewed",
    "table",
    "uniform_places",
    "write_json",
]
