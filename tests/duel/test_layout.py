"""Where objects lie is drawn anew in every child: equal in all launches, it would be a difference between the sides."""

from __future__ import annotations

import subprocess
import sys

PLACES = """
import os
import pytest_supervm
pytest_supervm.__doc__ = "PYTEST_DONT_REWRITE"
from pytest_supervm.duel.child import shaken

held = shaken() if {shaken} else None
integer, text, plain = 2**40 + int(os.environ["ONE"]), bytes(40 + int(os.environ["ONE"])), object()
print(*(id(one) % 4096 for one in (integer, text, plain)))
"""


def places(*, shaken):
    """Count the places within a page where a new integer, bytes and object lie in six processes of equal beginnings."""
    found = []
    for _ in range(6):
        done = subprocess.run(
            [sys.executable, "-c", PLACES.format(shaken=shaken)],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": "1", "ONE": "1"},
        )
        found.append(done.stdout.split())
    return [len(set(column)) for column in zip(*found, strict=True)]


def test_new_objects_lie_elsewhere_in_every_process():
    by_itself = places(shaken=False)
    assert max(by_itself) <= 3, "the interpreter by itself lays everything out much alike"
    assert min(places(shaken=True)) > max(by_itself)
