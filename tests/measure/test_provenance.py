"""Where a run comes from: machine, commit, packages, and the fixed piece of work."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_supervm.measure import provenance

UTC_NOON = datetime.datetime(2026, 1, 31, 12, 0, 7, tzinfo=datetime.UTC)

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


class Checkout:
    """A git repository with one commit: a source file, and a baseline in ``baselines``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.git("init", "--quiet", "--initial-branch=trunk")
        self.write("source.py", "1\n")
        self.write("baselines/main.jsonl", "{}\n")
        self.git("add", ".")
        self.git("commit", "--quiet", "--message=First")

    def git(self, *arguments: str) -> str:
        command = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", *arguments]
        return subprocess.run(command, cwd=self.path, check=True, capture_output=True, text=True).stdout.strip()

    def write(self, name: str, text: str) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def dirty(self, *, root: str = ".", store: str = "baselines") -> bool:
        commit = provenance.commit(self.path / root, self.path / store)
        assert commit is not None
        return commit.dirty


@pytest.fixture
def no_git_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the user's settings nor a repository around or above these tests has a say."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)


@pytest.fixture
def checkout(tmp_path: Path, no_git_settings: None) -> Checkout:  # noqa: ARG001  # before the first git command
    """A clean checkout of the branch ``trunk``."""
    path = tmp_path / "checkout"
    path.mkdir()
    return Checkout(path)


@needs_git
def test_a_clean_checkout_is_its_commit_and_branch(checkout: Checkout) -> None:
    found = provenance.commit(checkout.path, checkout.path / "baselines")
    assert found is not None
    assert found.id == checkout.git("rev-parse", "HEAD")
    assert len(found.id) == 40
    assert (found.branch, found.dirty) == ("trunk", False)


@needs_git
def test_a_detached_head_has_no_branch(checkout: Checkout) -> None:
    checkout.git("checkout", "--quiet", "--detach")
    found = provenance.commit(checkout.path, checkout.path / "baselines")
    assert found is not None
    assert (found.branch, found.dirty) == (None, False)


@needs_git
@pytest.mark.parametrize("staged", [False, True])
def test_a_changed_source_makes_it_dirty(checkout: Checkout, staged: bool) -> None:
    checkout.write("source.py", "2\n")
    if staged:
        checkout.git("add", "source.py")
    assert checkout.dirty()


@needs_git
def test_a_deleted_source_makes_it_dirty(checkout: Checkout) -> None:
    (checkout.path / "source.py").unlink()
    assert checkout.dirty()


@needs_git
def test_kept_runs_do_not_make_it_dirty(checkout: Checkout) -> None:
    checkout.write("baselines/main.jsonl", "{}\n{}\n")
    checkout.write("baselines/new.jsonl", "{}\n")
    checkout.git("add", "baselines/new.jsonl")
    assert not checkout.dirty()
    checkout.write("source.py", "2\n")
    assert checkout.dirty()


@needs_git
def test_reports_that_git_does_not_know_do_not_make_it_dirty(checkout: Checkout) -> None:
    checkout.write("report.html", "<p>")
    assert not checkout.dirty()


@needs_git
def test_a_change_elsewhere_in_the_checkout_counts_for_a_project_in_a_subfolder(checkout: Checkout) -> None:
    checkout.write("project/baselines/main.jsonl", "{}\n")
    checkout.git("add", ".")
    checkout.git("commit", "--quiet", "--message=Second")
    assert not checkout.dirty(root="project", store="project/baselines")
    checkout.write("project/baselines/main.jsonl", "{}\n{}\n")
    assert not checkout.dirty(root="project", store="project/baselines")
    checkout.write("source.py", "2\n")
    assert checkout.dirty(root="project", store="project/baselines")


@needs_git
@pytest.mark.parametrize("store", [".", "..", "../elsewhere", "nothing here", "sour*", "[s]ource.py"])
def test_a_store_at_an_odd_place_hides_no_change(checkout: Checkout, store: str) -> None:
    assert not checkout.dirty(store=store)
    checkout.write("source.py", "2\n")
    assert checkout.dirty(store=store)


@needs_git
def test_a_state_that_git_cannot_tell_is_not_called_clean(checkout: Checkout) -> None:
    (checkout.path / ".git" / "index").write_bytes(b"damaged")
    assert checkout.dirty()


@needs_git
@pytest.mark.usefixtures("no_git_settings")
def test_outside_a_checkout_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.commit(tmp_path, tmp_path / "baselines") is None
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    assert provenance.commit(tmp_path, tmp_path / "baselines") is None, "a checkout without a commit has none either"


@needs_git
def test_without_git_there_is_no_commit(checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.commit(checkout.path, checkout.path / "baselines") is None


def test_the_machine_is_the_same_each_time_it_is_asked() -> None:
    first = provenance.machine()
    assert provenance.machine() == first
    assert first.cpu
    assert 1 <= first.cores <= (os.cpu_count() or 1)
    assert (
        first.python
        == f"{sys.implementation.name.replace('cpython', 'CPython')} {sys.version_info[0]}.{sys.version_info[1]}"
    )


@pytest.fixture
def identity(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The file of the machine's identity; it does not exist yet. The other is empty."""
    empty, file = tmp_path / "empty", tmp_path / "machine-id"
    empty.write_text("\n")
    monkeypatch.setattr(provenance, "MACHINE_ID_FILES", (empty, file))
    return file


def test_the_machines_id_is_hashed_so_that_nobody_learns_it_from_a_baseline(identity: Path) -> None:
    secret = "4c4c4544004b3510804cb8c04f4d3132"
    identity.write_text(f"{secret}\n")
    found = provenance.machine().id
    assert len(found) == 16
    assert found not in secret
    assert found != hashlib.sha256(secret.encode()).hexdigest()[:16], "others publish this hash: ours is salted"
    assert provenance.machine().id == found
    identity.write_text(f"{secret[:-1]}3\n")
    assert provenance.machine().id != found


def test_a_machine_without_an_identity_file_still_has_an_id(identity: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not identity.exists()
    nodes = iter([0xAABBCCDDEEFF, 0xAABBCCDDEEFF, 0xAABBCCDDEE00])
    monkeypatch.setattr(provenance.uuid, "getnode", lambda: next(nodes))
    first, second, other = (provenance._hashed_machine_id() for _ in range(3))
    assert first == second != other
    assert "aabbccddeeff" not in first


def test_packages_are_names_and_versions() -> None:
    found = provenance.packages()
    assert found["pytest"] == importlib.metadata.version("pytest")
    assert list(found) == sorted(found)
    assert all(isinstance(part, str) for pair in found.items() for part in pair)


def test_a_number_drawn_by_lot_is_no_identity(identity: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not identity.exists()
    nodes = iter([0xABBBCCDDEEFF, 0x01BBCCDDEE00])
    monkeypatch.setattr(provenance.uuid, "getnode", lambda: next(nodes))
    assert provenance._hashed_machine_id() == provenance._hashed_machine_id()


def test_of_two_packages_of_a_name_the_imported_one_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, version in (("first", "9.0"), ("second", "10.0")):
        info = tmp_path / folder / f"twice-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Name: twice\nVersion: {version}\n")
    monkeypatch.syspath_prepend(str(tmp_path / "second"))
    monkeypatch.syspath_prepend(str(tmp_path / "first"))
    assert provenance.packages()["twice"] == "9.0"
    monkeypatch.syspath_prepend(str(tmp_path / "second"))
    assert provenance.packages()["twice"] == "10.0"


def test_a_package_without_a_name_or_version_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_removed-1.0.dist-info").mkdir()
    nameless = tmp_path / "nameless-2.0.dist-info"
    nameless.mkdir()
    (nameless / "METADATA").write_text("Version: 2.0\n")
    unversioned = tmp_path / "unversioned-3.0.dist-info"
    unversioned.mkdir()
    (unversioned / "METADATA").write_text("Name: unversioned\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = provenance.packages()
    assert "pytest" in found
    assert "unversioned" not in found
    assert all(isinstance(part, str) for pair in found.items() for part in pair)


def test_the_fixed_piece_of_work_is_timed_by_its_median(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = iter([value for number in range(15) for value in (0, (1000 if number < 8 else 10**9))])
    monkeypatch.setattr(provenance.clock, "wall", lambda: next(steps))
    assert provenance.calibration() == 1e-6


def test_ids_of_runs_differ_and_sort_by_time() -> None:
    ids = [provenance.run_id(UTC_NOON) for _ in range(50)]
    assert len(set(ids)) == 50
    assert all(name.startswith("20260131T120007Z-") for name in ids)
    assert provenance.run_id(UTC_NOON + datetime.timedelta(seconds=1)) > max(ids)
