"""The page about `supervm bench` names the options, defaults, fields and numbers that the code has."""

from __future__ import annotations

import json
from dataclasses import fields

import click
import pytest

from supervm_core import bench
from supervm_core.commands import bench as command
from supervm_core.engine import MOST_PARTITIONS

from .test_reference import REFERENCE, first, table

BENCHES = command.commands
EVERYWHERE = first(table("bench.md", "option of both"))


def options(name: str) -> dict[str, click.Option]:
    return {option.opts[0]: option for option in BENCHES[name].params if isinstance(option, click.Option)}


@pytest.mark.parametrize("name", BENCHES)
def test_the_options_are_those_of_the_command(name):
    own = first(table("bench.md", f"option of {name}"))
    assert list(options(name)) == own + EVERYWHERE


@pytest.mark.parametrize("name", BENCHES)
def test_the_defaults_are_those_of_the_command(name):
    rows = table("bench.md", "option of both") + table("bench.md", f"option of {name}")
    for option, _, default in rows:
        chosen = options(name)[option.strip("`")].default
        if isinstance(chosen, int):
            assert default == f"{chosen:,}"
        elif isinstance(chosen, str):
            assert default == chosen
        else:
            assert not any(character.isdigit() for character in default), option


def test_the_commands_page_lists_them():
    listed = [line.split() for line in first(table("commands.md", "command"))]
    assert [words[2] for words in listed if words[1] == "bench"] == list(BENCHES)


def test_the_fields_of_the_file_are_those_that_are_written(tmp_path):
    bench.write_json([], tmp_path / "rows.json")
    content = json.loads((tmp_path / "rows.json").read_text())
    assert first(table("bench.md", "key of the file")) == list(content)
    assert first(table("bench.md", "key of the machine")) == list(content["machine"])
    assert first(table("bench.md", "key of a row")) == [field.name for field in fields(bench.Row)]


@pytest.mark.parametrize(
    "sentence",
    [
        f"the first {bench.TIMED:,} transactions",
        f"the specification on the first {bench.CHECKED:,} transactions",
        f"`{bench.SCHEMA}`",
        f"1 to {MOST_PARTITIONS:,}; a row for each",
    ],
)
def test_the_numbers_are_those_of_the_code(sentence):
    assert sentence in " ".join((REFERENCE / "bench.md").read_text().split())


def test_the_rows_of_mixed_are_those_of_the_page():
    text = (REFERENCE / "bench.md").read_text()
    plan = bench.plan_mixed(bench.Load(txs=1, accounts=8))
    assert all(f"\n{case.name} " in text for case in plan.cases)
