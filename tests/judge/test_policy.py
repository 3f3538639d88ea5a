"""What people write about thresholds and limits, and what they are told when it makes no sense."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_supervm.judge.policy import DEFAULTS, KEYS, Policy, PolicyError, merge, read, threshold_as_effect
from pytest_supervm.model import STANDARD_METRICS, Metric


def read_one(metric: str, **keys: object) -> Policy:
    return read({metric: keys}, STANDARD_METRICS)[metric]


def refusal(table: object) -> str:
    with pytest.raises(PolicyError) as caught:
        read(table, STANDARD_METRICS)  # type: ignore[arg-type]
    return str(caught.value)


def test_the_defaults_are_those_of_the_issue():
    found = read(DEFAULTS, STANDARD_METRICS)
    assert found == {
        "throughput": Policy(warn=pytest.approx(-math.log(0.95)), block=pytest.approx(-math.log(0.85))),
        "latency_p99": Policy(block=pytest.approx(math.log(1.1))),
    }
    assert found["throughput"].threshold == found["throughput"].warn
    assert found["latency_p99"].threshold == found["latency_p99"].block


@pytest.mark.parametrize(
    ("metric", "text", "limit"),
    [
        ("latency_p99", "100 ms", 0.1),
        ("latency_p99", "100ms", 0.1),
        ("peak_memory", "2 GB", 2e9),
        ("peak_memory", "2 GiB", 2**31),
        ("failure_rate", "0.1%", 0.001),
        ("failure_rate", "0", 0.0),
        ("write_amplification", "10", 10.0),
        ("throughput", "1e5", 1e5),
    ],
)
def test_limits_are_read_in_the_unit_of_their_metric(metric, text, limit):
    assert read_one(metric, limit=text) == Policy(limit=pytest.approx(limit))


@given(st.floats(0.001, 0.9))
def test_a_threshold_is_the_effect_of_exactly_that_change(change):
    assert math.exp(-threshold_as_effect(change, "higher")) == pytest.approx(1 - change)
    assert math.exp(threshold_as_effect(change, "lower")) == pytest.approx(1 + change)


def test_later_words_stand_over_earlier_ones_key_by_key():
    project = {"throughput": {"block": "20%"}, "peak_memory": {"limit": "2 GB"}}
    marker = {"throughput": {"warn": "off"}, "latency_p99": {"limit": "1 s"}}
    assert merge(DEFAULTS, project, marker) == {
        "throughput": {"warn": "off", "block": "20%"},
        "latency_p99": {"block": "10%", "limit": "1 s"},
        "peak_memory": {"limit": "2 GB"},
    }
    assert read(merge(DEFAULTS, project, marker), STANDARD_METRICS)["throughput"].warn is None
    assert DEFAULTS["throughput"] == {"warn": "5%", "block": "15%"}, "merging must not write into the defaults"


def test_off_takes_a_key_away_and_an_empty_table_asks_for_nothing():
    assert read_one("throughput", warn="off", block="off", limit="off") == Policy() == read_one("throughput")


def test_an_unknown_metric_lists_the_known_ones_and_where_to_declare_more():
    message = refusal({"thruput": {"warn": "5%"}})
    assert "unknown metric 'thruput'" in message
    assert all(name in message for name in STANDARD_METRICS)
    assert "[tool.supervm.metrics]" in message


def test_an_unknown_key_lists_the_known_ones():
    message = refusal({"throughput": {"fail": "5%"}})
    assert message == f"unknown key 'fail' in the policy of throughput: the known ones are {', '.join(KEYS)}"


@pytest.mark.parametrize(
    ("metric", "text", "known"), [("latency_p99", "100 ns/s", "ms"), ("peak_memory", "2 Gb", "GiB")]
)
def test_an_unknown_unit_lists_the_known_ones(metric, text, known):
    message = refusal({metric: {"limit": text}})
    assert message.startswith(f"{metric}: limit: {text!r} is not a quantity in ")
    assert known in message


@pytest.mark.parametrize("text", ["", " ", "5", "0%", "-5%", "nan%", "inf%", "1e400%", "five%", "5%%", "5 percent"])
@pytest.mark.parametrize("key", ["warn", "block"])
def test_a_threshold_that_is_no_percentage_above_zero_is_refused(key, text):
    message = refusal({"latency_p99": {key: text}})
    assert message == f'latency_p99: {key}: {text!r} is not a percentage: write a number above 0 and %, such as "5%"'


@pytest.mark.parametrize("text", ["100%", "250%"])
def test_throughput_cannot_fall_by_all_of_it_but_latency_can_rise_so(text):
    assert "throughput cannot fall by" in refusal({"throughput": {"warn": text}})
    assert read_one("latency_p99", block=text).block == pytest.approx(math.log1p(float(text[:-1]) / 100))


@pytest.mark.parametrize("text", ["", "ms", "100", "nan ms", "inf ms", "1e400 s", "100 tx", "5%"])
def test_a_limit_that_is_no_time_is_refused(text):
    message = refusal({"latency_p99": {"limit": text}})
    assert message == (
        f"latency_p99: limit: {text!r} is not a quantity in s: "
        "write a number and one of the units s, ms, us, µs, μs, ns, min, h"
    )


def test_a_limit_below_zero_is_refused_unless_the_metric_counts_something():
    assert "latency_p99 is never below zero" in refusal({"latency_p99": {"limit": "-5 ms"}})
    balance = Metric("balance", "coin", "higher")
    assert read({"balance": {"limit": "-5 coin"}}, {"balance": balance})["balance"].limit == -5


@pytest.mark.parametrize("value", [5, 0.05, True, None, ["5%"]])
def test_a_value_that_is_no_text_is_refused(value):
    message = refusal({"throughput": {"warn": value}})
    assert message == f'throughput: warn must be text such as "5%" or "100 ms", not {value!r}'


@pytest.mark.parametrize("table", ["5%", 5, None, ["warn"]])
def test_a_policy_that_is_no_table_is_refused(table):
    assert refusal({"throughput": table}).startswith("the policy of 'throughput' must be a table such as ")
