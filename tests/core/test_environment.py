"""Environment variables say what is wrong with them, and never mean something else silently."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervm_core.environment import choice, flag, whole
from supervm_core.errors import SettingError


@pytest.mark.parametrize(
    ("environ", "expected"), [({}, False), ({"A": ""}, False), ({"A": "0"}, False), ({"A": "1"}, True)]
)
def test_a_flag_is_one_or_zero(environ: dict[str, str], expected: bool) -> None:
    assert flag("A", environ) is expected


@pytest.mark.parametrize("value", ["yes", "true", "2", " 1", "-1"])
def test_anything_else_is_no_flag(value: str) -> None:
    with pytest.raises(SettingError, match=rf"^A is '{value}'; one of 0, 1 is wanted\. .*the default, 0$"):
        flag("A", {"A": value})


def test_a_choice_names_its_words() -> None:
    assert choice("A", ("off", "exponential"), {}) == "off"
    assert choice("A", ("off", "exponential"), {"A": "exponential"}) == "exponential"
    with pytest.raises(SettingError, match="A is 'linear'; one of off, exponential is wanted"):
        choice("A", ("off", "exponential"), {"A": "linear"})


@given(st.text(max_size=6) | st.from_regex(r"[0-9]{0,3}", fullmatch=True))
def test_a_whole_number_is_in_its_range_or_refused(value: str) -> None:
    accepted = {"": 5} | {str(number): number for number in range(65)}
    if value.lstrip("0") in accepted and ((value.isascii() and value.isdigit()) or not value):
        assert whole("A", 0, 64, 5, {"A": value}) == (int(value) if value else 5)
    else:
        with pytest.raises(SettingError, match="a whole number from 0 to 64 is wanted"):
            whole("A", 0, 64, 5, {"A": value})


@pytest.mark.parametrize("value", ["65", "-1", "1.0", "1e1", "²", "٣", "1_0", " 1", "9" * 5000])
def test_numbers_in_other_dress_are_refused(value: str) -> None:
    with pytest.raises(SettingError, match="from 0 to 64"):
        whole("A", 0, 64, 5, {"A": value})
