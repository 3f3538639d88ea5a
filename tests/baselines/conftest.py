"""Stores to keep runs in."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_supervm.baselines import Store, open_store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the store keeps its files; it does not exist yet."""
    return tmp_path / "baselines"


@pytest.fixture
def store(folder: Path) -> Store:
    """An empty store, of whatever kind: what uses nothing else holds for every kind."""
    return open_store(folder.name, folder.parent)
