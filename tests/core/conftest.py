"""What the tests of the subject share: each executor in turn, under one name."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from supervm_core import reference
from supervm_core.execution import sequential
from supervm_core.state import State
from supervm_core.transactions import Batch, Receipts


@pytest.fixture(params=[reference.execute, sequential.execute], ids=["reference", "sequential"])
def execute(request: pytest.FixtureRequest) -> Callable[[State, Batch], Receipts]:
    """The specification, then the compiled kernel."""
    return request.param
