"""Write docs/reference/results.schema.json: ``python tests/docs/write_schema.py``."""

from __future__ import annotations

import json
from pathlib import Path

from pytest_supervm.report.files import results_schema

SCHEMA_FILE = Path(__file__).parents[2] / "docs" / "reference" / "results.schema.json"


def schema_text() -> str:
    return json.dumps(results_schema(), indent=2) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(schema_text())
