"""Writing reports to disk: whole or not at all.

A report is written beside its destination and then renamed over it, so that whoever reads the file (a browser, an
uploader of artefacts, a second invocation) finds the old one or the new one and never a part. What a process that was
killed left beside it carries that process's number, and the next writer removes it.
"""

from __future__ import annotations

import glob
import os
import secrets
from pathlib import Path
from typing import Any

import msgspec
import psutil

from pytest_supervm.model import History, Results


class ReportError(Exception):
    """A report that cannot be written. The message says which, why, and what to do."""


def write_json(results: msgspec.Struct, path: Path) -> None:
    """Write results as indented JSON; `Results` follow `results_schema`.

    Raises
    ------
    ReportError
        The file cannot be written.
    """
    try:
        encoded = msgspec.json.encode(results)
    except UnicodeEncodeError as error:  # a lone surrogate, from an undecodable byte of a name
        raise ReportError(f"cannot write the report {path}: JSON has no form for a name in it; {error}") from error
    _write(path, msgspec.json.format(encoded, indent=2) + b"\n")


def write_html(results: Results, history: History | None, path: Path) -> None:
    """Write results as one HTML page that opens offline; see `html.render`.

    Raises
    ------
    ReportError
        The file cannot be written.
    """
    from pytest_supervm.report import html  # Jinja2 and Plotly load only for those who ask for a page

    # A lone surrogate (an undecodable byte of a file name) has no UTF-8 form; a character reference always has.
    _write(path, html.render(results, history).encode("utf-8", "xmlcharrefreplace"))


def results_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the file that `write_json` writes."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(Results)}


def _write(path: Path, content: bytes) -> None:
    try:
        target = path.resolve()  # through a symbolic link, so that the link stays one
        if target.exists() and not target.is_file():
            raise ReportError(f"cannot write the report {path}: it exists and is not a file; name a file")
        target.parent.mkdir(parents=True, exist_ok=True)
        for draft in target.parent.glob(f".{glob.escape(target.name)}.*-*.tmp"):
            _remove_if_abandoned(draft)
        temporary = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
        try:
            temporary.write_bytes(content)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of symbolic links, up to Python 3.12
        reason = getattr(error, "strerror", None) or error
        raise ReportError(f"cannot write the report {path}: {reason}; name a file that you may write") from error


def _remove_if_abandoned(draft: Path) -> None:
    """Remove a draft whose writer is gone; one that is still being written, here or by another process, stays."""
    number = draft.name.rsplit(".", 2)[1].partition("-")[0]
    if number.isdecimal() and not psutil.pid_exists(int(number)):
        draft.unlink(missing_ok=True)
