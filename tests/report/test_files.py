"""Reports on disk: whole or not at all, and a sentence when they cannot be."""

import os
import subprocess

import jsonschema
import msgspec
import pytest

from pytest_supervm.model import Results
from pytest_supervm.report import files

from . import situations


@pytest.mark.parametrize("situation", ["passing", "blocking", "missing", "without_baseline", "unmeasured", "hostile"])
def test_json_follows_its_schema_and_reads_back_as_it_was(situation, tmp_path):
    shown = getattr(situations, situation)()
    path = tmp_path / "deep" / "results.json"
    files.write_json(shown, path)
    jsonschema.validate(msgspec.json.decode(path.read_bytes()), files.results_schema())
    assert msgspec.json.decode(path.read_bytes(), type=Results) == shown
    assert [entry.name for entry in path.parent.iterdir()] == ["results.json"]


def test_a_page_replaces_an_older_one_and_follows_a_link(tmp_path):
    real, link = tmp_path / "real.html", tmp_path / "link.html"
    real.write_text("old")
    link.symlink_to(real)
    files.write_html(situations.passing(), None, link)
    assert link.is_symlink()
    assert real.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_failed_write_leaves_the_older_report_whole(tmp_path, monkeypatch):
    path = tmp_path / "results.json"
    files.write_json(situations.passing(), path)
    before = path.read_bytes()

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", refuse)
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(files.ReportError, match="No space left on device"):
        files.write_json(situations.blocking(), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_not_a_file_is_refused_with_its_path(tmp_path):
    with pytest.raises(files.ReportError, match="is not a file"):
        files.write_json(situations.passing(), tmp_path)
    (tmp_path / "plain").write_text("")
    with pytest.raises(files.ReportError, match=r"plain/results\.json"):
        files.write_json(situations.passing(), tmp_path / "plain" / "results.json")


def test_undecodable_names_are_written_where_the_format_can(tmp_path):
    shown = situations.results(
        situations.judged(situations.LATENCY, 1.0, 1.0, 0.1, situations.Verdict.NEW, id="\udc80")
    )
    files.write_html(shown, None, tmp_path / "page.html")
    assert b"&#56448;" in (tmp_path / "page.html").read_bytes()
    with pytest.raises(files.ReportError, match="a name in it"):
        files.write_json(shown, tmp_path / "results.json")


def test_what_a_killed_writer_left_is_removed_and_what_another_is_writing_is_not(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    path = tmp_path / "results.json"
    abandoned, in_hand = (tmp_path / f".results.json.{pid}-00112233.tmp" for pid in (gone.pid, os.getpid()))
    for draft in (abandoned, in_hand):
        draft.write_text("half")
    files.write_json(situations.passing(), path)
    assert sorted(tmp_path.iterdir()) == sorted([path, in_hand])
