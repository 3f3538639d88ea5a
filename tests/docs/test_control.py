"""The page about what steers the executor names the variables, ranges and metrics that the code has."""

from __future__ import annotations

import pytest

from supervm_core import features
from supervm_core.control.congestion import DEFAULT_RETRIES, MOST_RETRIES, RETRIES_VARIABLE
from supervm_core.errors import SettingError
from supervm_core.execution.bookkeeping import MICRO_BATCH
from supervm_core.telemetry.counters import MEMORY, METRICS, WORKER_CPU

from .pages import ROOT
from .test_reference import first, table

PAGE = (ROOT / "docs" / "reference" / "control.md").read_text()


def test_the_features_are_those_of_the_code():
    assert [[cell.strip("`") for cell in row] for row in table("control.md", "feature")] == [
        [each.name, "off" if each.tier == 1 else "on", each.variable, *each.words, each.meaning]
        for each in features.FEATURES.values()
    ]


@pytest.mark.parametrize("feature", features.FEATURES.values(), ids=features.FEATURES)
def test_a_variable_says_one_of_its_two_words(feature):
    default, other = feature.words
    assert features.active(environ={feature.variable: default}) == features.active(environ={})
    assert features.active(environ={feature.variable: other}) ^ features.active(environ={}) == {feature.name}
    with pytest.raises(SettingError, match=f"{feature.variable} is 'perhaps'"):
        features.active(environ={feature.variable: "perhaps"})


def test_numbers_in_the_text_are_those_of_the_code():
    words = " ".join(PAGE.split())
    assert f"`{RETRIES_VARIABLE}`, from 0 to {MOST_RETRIES} and {DEFAULT_RETRIES} by default" in words
    assert f"the micro-batch: {MICRO_BATCH} transactions in order" in words


def test_the_metrics_are_those_of_the_code():
    metrics = [*METRICS.values(), WORKER_CPU, MEMORY]
    assert first(table("control.md", "metric")) == [metric.name for metric in metrics]
    assert [row[1:] for row in table("control.md", "metric")] == [[metric.kind, metric.help] for metric in metrics]
