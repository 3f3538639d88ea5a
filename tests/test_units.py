"""Quantities as people write and read them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_supervm import units


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("100 ms", "s", 0.1),
        (" 100ms ", "s", 0.1),
        ("3 us", "s", 3e-6),
        ("3 \N{MICRO SIGN}s", "s", 3e-6),
        ("3 \N{GREEK SMALL LETTER MU}s", "s", 3e-6),
        ("2 min", "s", 120),
        ("1e3 ns", "s", 1e-6),
        (".5 h", "s", 1800),
        ("2 GB", "B", 2e9),
        ("2 GiB", "B", 2**31),
        ("1 kB", "B", 1000),
        ("0.1%", "ratio", 0.001),
        ("+10", "ratio", 10),
        ("12", "tx/s", 12),
        ("12 tx/s", "tx/s", 12),
        ("12 big blocks", "big blocks", 12),
    ],
)
def test_a_quantity_is_read_in_base_units(text, unit, value):
    assert units.parse(text, unit) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("", "s"),
        ("100", "s"),
        ("100 mS", "s"),
        ("100 B", "s"),
        ("2 Gb", "B"),
        ("5 ratio", "ratio"),
        ("5 k tx/s", "tx/s"),
        ("nan s", "s"),
        ("1e400 s", "s"),
        ("1_000 ms", "s"),
        ("1,5 s", "s"),
        ("5 s 6", "s"),
    ],
)
def test_what_is_no_quantity_is_refused_with_the_units_that_would_do(text, unit):
    with pytest.raises(units.UnitError) as caught:
        units.parse(text, unit)
    assert repr(text) in str(caught.value)
    names = {"s": units.TIME, "B": units.BYTES, "ratio": units.RATIO}.get(unit, [unit])
    assert all((name or "(none)") in str(caught.value) for name in names)


@given(st.floats(1e-9, 1e12), st.sampled_from(sorted(units.TIME) + sorted(units.BYTES) + sorted(units.RATIO)))
def test_reading_and_converting_agree(value, unit):
    assert units.parse(f"{value!r} {unit}", units.base_unit(unit)) == pytest.approx(units.to_base(value, unit))


def test_units_of_counts_stay_as_they_are():
    assert units.base_unit("tx/s") == "tx/s"
    assert units.to_base(5, "tx/s") == 5
    assert units.base_unit("ratio") == "ratio"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "s", "-"),
        (0, "s", "0 s"),
        (0, "B", "0 B"),
        (0.0000813, "s", "81.3 us"),
        (0.99996, "s", "1.00 s"),
        (-0.003, "s", "-3.00 ms"),
        (3600, "s", "3600 s"),
        (2e9, "B", "2.00 GB"),
        (999.6, "B", "1.00 kB"),
        (1_240_000, "tx/s", "1.24 M tx/s"),
        (999.6, "tx", "1.00 k tx"),
        (12, None, "12.0"),
        (3e-6, "s/tx", "3.00 us/tx"),
        (0.001, "ratio", "0.00100"),
        (1e-7, "ratio", "1e-07"),
        (1500, "ratio", "1500"),
    ],
)
def test_a_quantity_is_written_for_people(value, unit, text):
    assert units.quantity(value, unit) == text


@given(st.floats(1e-9, 1e5), st.sampled_from(["s", "B", "ratio"]))
def test_what_is_written_reads_back_to_three_digits(value, unit):
    assert units.parse(units.quantity(value, unit), unit) == pytest.approx(value, rel=0.0051)


@pytest.mark.parametrize(
    ("effect", "text"), [(0, "+0.0 %"), (math.log(1.1), "+10.0 %"), (-0.0315, "-3.1 %"), (6, "x403")]
)
def test_a_change_is_written_in_percent_until_percents_mean_nothing(effect, text):
    assert units.percent_change(effect) == text


@given(st.floats(1e-6, 1e6))
def test_a_percentage_is_a_hundredth(value):
    assert units.percentage(f"{value!r}%") == pytest.approx(value / 100)
    with pytest.raises(units.UnitError, match="is not a percentage"):
        units.percentage(f"-{value!r}%")
