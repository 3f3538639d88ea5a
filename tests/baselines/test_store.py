"""What every kind of store promises: histories that grow, are pruned and renamed, and refuse what is unsound."""

from __future__ import annotations

import math
import random
import string
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_supervm.baselines import (
    InvalidName,
    NameTaken,
    Store,
    UnknownBaseline,
    UnsoundRun,
    UnsupportedStore,
    open_store,
)
from pytest_supervm.model import Case, Commit, Location, Machine, Metric, Run, Series

from .runs import LATENCY, a_run, a_series

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
tables = st.dictionaries(texts, texts, max_size=2)
values = st.floats(0, 1e300)
series = st.builds(
    Series,
    metric=st.builds(Metric, texts, texts, st.sampled_from(["lower", "higher"])),
    launches=st.lists(st.lists(values, min_size=1, max_size=3).map(tuple), min_size=1, max_size=3).map(tuple),
    samples=st.none() | st.integers(0, 2**62),
) | st.builds(Series, metric=st.just(LATENCY), unmeasured=texts)
cases = st.builds(
    Case,
    id=texts,
    location=st.builds(Location, texts, st.integers(1, 10**6)),
    parameters=tables,
    features=st.lists(texts, max_size=2).map(tuple),
    series=st.lists(series, max_size=2).map(tuple),
    conditions=tables,
)
runs = st.builds(
    Run,
    schema=st.just(1),
    id=st.text(string.ascii_letters, min_size=1),
    time=st.datetimes(timezones=st.timezones()).map(lambda moment: moment.isoformat()),
    machine=st.builds(Machine, texts, st.integers(1, 512), st.integers(0, 4096), texts, texts, texts),
    cases=st.lists(cases, max_size=2).map(tuple),
    commit=st.none() | st.builds(Commit, texts, st.booleans(), st.none() | texts),
    packages=tables,
    calibration=st.none() | values,
    settings=tables,
    features=st.lists(texts, max_size=2).map(tuple),
    scope=st.lists(texts, max_size=2).map(tuple),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(runs, min_size=1, max_size=4, unique_by=lambda run: run.id))
def test_what_is_saved_is_loaded(saved: list[Run]) -> None:
    with tempfile.TemporaryDirectory() as root:
        store = open_store("baselines", Path(root))
        for run in saved:
            store.append("main", run)
        history = store.load("main")
    assert not history.damaged
    assert sorted(history.runs, key=lambda run: run.id) == sorted(saved, key=lambda run: run.id)


def test_runs_are_sorted_by_time_whatever_the_order_of_saving(store: Store) -> None:
    shuffled = [a_run(number) for number in range(8)]
    random.Random(1).shuffle(shuffled)
    for run in shuffled:
        store.append("main", run)
    assert store.load("main").runs == tuple(a_run(number) for number in range(8))


def test_time_zones_are_understood(store: Store) -> None:
    early = msgspec.structs.replace(a_run(1), time="2026-01-31T13:00:00+02:00")
    late = msgspec.structs.replace(a_run(0), time="2026-01-31T12:00:00.5Z")
    store.append("main", late)
    store.append("main", early)
    assert store.load("main").runs == (early, late)


def test_a_run_that_was_saved_twice_counts_once(store: Store) -> None:
    for number in (0, 1, 0):
        store.append("main", a_run(number))
    history = store.load("main")
    assert history.runs == (a_run(0), a_run(1))
    assert not history.damaged


def test_one_id_for_two_sets_of_figures_is_damage(store: Store) -> None:
    store.append("main", a_run(0))
    store.append("main", msgspec.structs.replace(a_run(0), calibration=1.0))
    history = store.load("main")
    assert history.runs == (a_run(0),)
    assert "is that of another run" in str(history.damaged[0])


def test_names(store: Store) -> None:
    assert store.names() == ()
    for name in ("v0.3.0", "main", "a-b_c", "9", "main.jsonl"):
        store.append(name, a_run(0))
        assert store.load(name).name == name
    assert store.names() == ("9", "a-b_c", "main", "main.jsonl", "v0.3.0")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "/etc/passwd", "a\0b", "-x", ".hidden", "ü", "main\n", "a b", "x" * 201]
)
def test_a_name_that_is_none_is_refused_by_every_command(store: Store, folder: Path, name: str) -> None:
    store.append("main", a_run(0))
    for command in (
        lambda: store.load(name),
        lambda: store.append(name, a_run(0)),
        lambda: store.prune(name, 1),
        lambda: store.rename(name, "other"),
        lambda: store.rename("main", name),
    ):
        with pytest.raises(InvalidName, match="begin with a letter or digit"):
            command()
    assert store.names() == ("main",)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["baselines"]


def test_an_unknown_name_lists_the_known_ones_and_how_to_save(store: Store) -> None:
    with pytest.raises(UnknownBaseline, match=r"it holds none yet.*pytest --supervm-save=mian"):
        store.load("mian")
    store.append("main", a_run(0))
    store.append("v1", a_run(0))
    for command in (
        lambda: store.load("mian"),
        lambda: store.prune("mian", 1),
        lambda: store.rename("mian", "other"),
    ):
        with pytest.raises(UnknownBaseline, match=r"'mian' in baselines \(known: main, v1.*pytest --supervm-save=mian"):
            command()


def test_prune_keeps_the_newest_runs(store: Store) -> None:
    for number in (3, 0, 4, 1, 0, 2):
        store.append("main", a_run(number))
    assert store.prune("main", 2) == 3
    assert store.load("main").runs == (a_run(3), a_run(4))
    assert store.prune("main", 2) == 0
    assert store.load("main").runs == (a_run(3), a_run(4))


def test_prune_never_empties_a_history(store: Store) -> None:
    store.append("main", a_run(0))
    with pytest.raises(ValueError, match="at least one"):
        store.prune("main", 0)
    assert store.load("main").runs == (a_run(0),)


def test_rename_refuses_a_name_that_is_taken(store: Store) -> None:
    store.append("old", a_run(0))
    store.append("new", a_run(1))
    for taken in ("new", "old"):
        with pytest.raises(NameTaken, match="choose a name that is free"):
            store.rename("old", taken)
    store.rename("old", "free")
    assert store.names() == ("free", "new")
    assert store.load("free").runs == (a_run(0),)
    assert store.load("new").runs == (a_run(1),)


@pytest.mark.parametrize(
    ("unsound", "reason"),
    [
        (a_run(0, a_series((math.nan,))), "has the value nan"),
        (a_run(0, a_series((1.0, math.inf))), "has the value inf"),
        (a_run(0, a_series((1.0, -0.5))), "has the value -0.5"),
        (a_run(0, a_series((1e308, 1e308, -1.0))), "has the value -1.0"),
        (a_run(0, a_series((1.0,), ())), "has a launch without values"),
        (a_run(0, a_series()), "neither values nor a reason why"),
        (a_run(0, Series(metric=LATENCY, launches=((1.0,),), samples=-1)), "rests on -1 samples"),
        (msgspec.structs.replace(a_run(0), calibration=math.nan), "calibration is nan"),
        (msgspec.structs.replace(a_run(0), time="yesterday"), "not in ISO 8601"),
        (msgspec.structs.replace(a_run(0), time="2026-01-31T12:00:00"), "no time zone"),
        (msgspec.structs.replace(a_run(0), id=""), "id is empty"),
        (msgspec.structs.replace(a_run(0), schema=0), "schema 0 does not exist"),
        (msgspec.structs.replace(a_run(0), schema=2), "newer version"),
        (msgspec.structs.replace(a_run(0), settings={"lone": "\udc80"}), "surrogates not allowed"),
        (msgspec.structs.replace(a_run(0), calibration=10**400), "Number out of range"),
        (msgspec.structs.replace(a_run(0), settings={"count": 3}), "Expected `str`, got `int`"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_unsound_run_is_refused_before_it_is_written(store: Store, unsound: Run, reason: str) -> None:
    store.append("main", a_run(1))
    with pytest.raises(UnsoundRun, match=f"nothing was changed.*{reason}"):
        store.append("main", unsound)
    assert store.load("main").runs == (a_run(1),)


def test_what_a_test_counts_may_be_negative_or_huge(store: Store) -> None:
    balance = a_series((-5.0, 1e308, 1e308), metric=Metric("balance", "coins", "higher"))
    store.append("main", a_run(0, balance, a_series(unmeasured="no clock: give it one")))
    assert store.load("main").runs == (a_run(0, balance, a_series(unmeasured="no clock: give it one")),)


def test_a_database_is_refused_without_repeating_its_password(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedStore, match=r"postgresql\+psycopg://\.\.\.") as caught:
        open_store("postgresql+psycopg://me:secret@host/db", tmp_path)
    assert "secret" not in str(caught.value)
