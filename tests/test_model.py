"""The words that all rooms share: what is kept, what is alive, what is the same machine."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_supervm.model import (
    SCHEMA,
    STANDARD_METRICS,
    Case,
    Damage,
    Gate,
    History,
    Location,
    Machine,
    Metric,
    Run,
    Series,
    features_suffix,
    in_scope,
    worst,
)

HERE = Machine(cpu="Abacus 9", cores=2, memory=8, os="Linux", python="3.13.1", id="here")
SPEED = Metric("throughput", "tx/s", "higher")


def a_case(test: str, file: str = "test_x.py", value: float = 1.0, features: tuple[str, ...] = ()) -> Case:
    return Case(
        id=f"{file}::{test}{features_suffix(features)}",
        location=Location(file, 7),
        series=(Series(metric=SPEED, launches=((value,),)),),
        features=features,
    )


def a_run(*cases: Case, scope: tuple[str, ...] = (".",), deselected: tuple[str, ...] = ()) -> Run:
    return Run(
        schema=SCHEMA,
        id="20260131T120000Z-0",
        time="2026-01-31T12:00:00Z",
        machine=HERE,
        cases=cases,
        scope=scope,
        deselected=deselected,
    )


def alive(*runs: Run) -> set[str]:
    return set(History("main", runs).living_cases())


PAY, MINT, BURN = a_case("test_pay"), a_case("test_mint"), a_case("test_burn", "more/test_y.py")


def test_a_case_lives_until_a_run_that_looked_for_it_does_not_hold_it():
    assert alive(a_run(PAY, MINT, BURN)) == {PAY.id, MINT.id, BURN.id}
    assert alive(a_run(PAY, MINT, BURN), a_run(PAY)) == {PAY.id}
    assert alive(a_run(PAY, MINT, BURN), a_run(PAY, scope=("test_x.py",))) == {PAY.id, BURN.id}
    assert alive(a_run(PAY, MINT, BURN), a_run(PAY, scope=())) == {PAY.id, MINT.id, BURN.id}


def test_a_run_that_left_a_case_out_does_not_retire_it():
    assert alive(a_run(PAY, MINT), a_run(PAY, deselected=(MINT.nodeid,))) == {PAY.id, MINT.id}


def test_leaving_out_a_test_keeps_its_cases_of_all_features():
    fast, safe = (a_case("test_pay", features=(name,)) for name in ("fast", "safe"))
    assert alive(a_run(fast, safe), a_run(deselected=("test_x.py::test_pay",))) == {fast.id, safe.id}


def test_a_retired_case_lives_again_when_it_is_measured_again():
    assert alive(a_run(PAY), a_run(MINT), a_run(PAY, MINT)) == {PAY.id, MINT.id}


def test_the_newest_record_of_a_case_counts():
    moved = msgspec.structs.replace(PAY, location=Location("test_x.py", 70))
    assert History("main", (a_run(PAY), a_run(moved))).living_cases() == {PAY.id: moved}


@pytest.mark.parametrize(
    ("file", "scope", "inside"),
    [
        ("test_x.py", (".",), True),
        ("a/test_x.py", ("a",), True),
        ("a/test_x.py", ("b", "a/test_x.py"), True),
        ("ab/test_x.py", ("a",), False),
        ("test_x.py.bak", ("test_x.py",), False),
        ("test_x.py", (), False),
    ],
)
def test_a_file_is_in_scope_below_a_searched_place_and_not_beside_it(file, scope, inside):
    assert in_scope(file, scope) is inside


def test_the_node_id_of_a_case_is_its_id_without_features():
    assert a_case("test_pay[a {b}]").nodeid == "test_x.py::test_pay[a {b}]"
    assert a_case("test_pay", features=("a", "b")).nodeid == "test_x.py::test_pay"


@pytest.mark.parametrize(
    ("launches", "value"),
    [((), None), (((3.0,),), 3.0), (((1.0, 2.0, 30.0), (4.0,), (50.0, 60.0)), 4.0), (((1.0, 2.0),), 1.5)],
)
def test_a_series_is_worth_the_median_launch_of_median_blocks(launches, value):
    assert Series(metric=SPEED, launches=launches).value == value


def test_a_case_is_measured_if_any_of_its_metrics_is():
    nothing = Series(metric=SPEED, unmeasured="no clock")
    assert not Case(id="a", location=Location("a", 1), series=(nothing,)).measured
    assert not Case(id="a", location=Location("a", 1)).measured
    assert Case(id="a", location=Location("a", 1), series=(nothing, PAY.series[0])).measured


@pytest.mark.parametrize("field", Machine.__struct_fields__)
def test_any_difference_makes_another_machine_and_is_named(field):
    value = getattr(HERE, field)
    other = msgspec.structs.replace(HERE, **{field: value + 1 if isinstance(value, int) else f"{value}x"})
    assert other != HERE
    (difference,) = HERE.differences(other)
    assert difference.startswith(f"{field}: {value} -> {value if isinstance(value, str) else value + 1}")
    assert HERE.differences(HERE) == ()


@given(st.lists(st.sampled_from(Gate)))
def test_the_worst_gate_is_found_in_any_order(gates):
    order = [Gate.PASS, Gate.INCONCLUSIVE, Gate.WARN, Gate.BLOCK]
    assert worst(gates) is order[max((order.index(gate) for gate in gates), default=0)]


figures = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(st.lists(figures, min_size=1), max_size=3), st.text(), st.dictionaries(st.text(), st.text()))
def test_a_run_comes_back_from_its_line_as_it_was(launches, name, words):
    series = Series(metric=Metric(name, name, "lower"), launches=tuple(map(tuple, launches)), samples=3)
    case = Case(id=name, location=Location(name, 1), parameters=words, series=(series,), conditions=words)
    run = msgspec.structs.replace(a_run(case), settings=words, deselected=(name,))
    line = msgspec.json.encode(run)
    assert b"\n" not in line
    assert msgspec.json.decode(line, type=Run) == run


def test_a_damaged_line_says_where_it_stands_and_that_it_is_kept():
    assert (
        str(Damage("b/main.jsonl", 3, "cut short"))
        == "b/main.jsonl:3: cut short; the line was skipped and is kept as it is"
    )


def test_the_standard_metrics_are_known_by_their_names():
    assert all(name == metric.name for name, metric in STANDARD_METRICS.items())
    higher = {name for name, metric in STANDARD_METRICS.items() if metric.better == "higher"}
    assert higher == {"throughput", "compression_ratio", "cache_hit_rate"}
