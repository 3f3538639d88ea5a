"""Where objects lie is drawn anew in every child: equal in all launches, it would be a difference between the sides."""

from __future__ import annotations

import subprocess
import sys

PLACES = """
import pytest_supervm
pytest_supervm.__doc__ = "PYTEST_DONT_REWRITE"
from pytest_supervm.duel.child import shaken

held = shaken() if {shaken} else None
sums = [2**40 + number for number in range(40)]
texts = [bytes(100 + number % 2) for number in range(40)]
plain = [object() for number in range(40)]
print(*(id(made[-1]) % 4096 for made in (sums, texts, plain)))
"""


def places(*, shaken):
    """Count the places within a page where new integers, bytes and objects lie, in six equal processes."""
    found = []
    for _ in range(6):
        done = subprocess.run(
            [sys.executable, "-c", PLACES.format(shaken=shaken)],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": "1"},
        )
        found.append(done.stdout.split())
    return [len(set(column)) for column in zip(*found, strict=True)]


def test_new_objects_lie_elsewhere_in_every_process():
    by_itself = places(shaken=False)
    assert max(by_itself) <= 3, "the interpreter by itself lays everything out much alike"
    assert min(places(shaken=True)) > max(by_itself)
