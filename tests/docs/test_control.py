"""The page about what steers the executor names the variables, ranges and metrics that the code has."""

from __future__ import annotations

import pytest

from supervm_core.control import adaptive, congestion
from supervm_core.control.controller import Sizing
from supervm_core.errors import SettingError
from supervm_core.telemetry.counters import MEMORY, METRICS, WORKER_CPU

from .test_reference import first, table

ROWS = {row[0].strip("`"): row for row in table("control.md", "variable")}


def values(cell: str) -> list[str]:
    return [word.strip("` ") for word in cell.replace(" to ", ", ").split(",")]


def read(environ: dict[str, str]) -> tuple[bool, object]:
    """What the variables turn on: adaptive control, and congestion control with its back-off."""
    control = congestion.from_environment(environ)
    return adaptive.from_environment(Sizing(1, 1, 1), environ) is not None, control and control[1]


@pytest.mark.parametrize("variable", ROWS)
def test_each_value_is_accepted_and_the_default_is_what_an_unset_variable_means(variable):
    on = {"FASTPATH_CONGESTION_CONTROL": "exponential"} if variable == "FASTPATH_MAX_RETRIES" else {}
    for value in values(ROWS[variable][1]):
        read({**on, variable: value})
    assert read({**on, variable: ROWS[variable][2].strip("`")}) == read(on)
    with pytest.raises(SettingError, match=f"{variable} is 'other'"):
        read({variable: "other"})


def test_the_variables_are_all_that_are_read():
    assert list(ROWS) == [adaptive.VARIABLE, congestion.CONTROL_VARIABLE, congestion.RETRIES_VARIABLE]


def test_the_range_of_retries_ends_where_the_page_says():
    _, most = values(ROWS["FASTPATH_MAX_RETRIES"][1])
    with pytest.raises(SettingError, match=f"from 0 to {most}"):
        read({"FASTPATH_MAX_RETRIES": str(int(most) + 1)})


def test_the_metrics_are_those_of_the_code():
    metrics = [*METRICS.values(), WORKER_CPU, MEMORY]
    assert first(table("control.md", "metric")) == [metric.name for metric in metrics]
    assert [row[1:] for row in table("control.md", "metric")] == [[metric.kind, metric.help] for metric in metrics]
