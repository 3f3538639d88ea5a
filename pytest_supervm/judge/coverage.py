"""What should have been measured and was not: a removed benchmark must not look like a healthy one.

A case of the baseline is *missing* when its file was in the scope of this run and it no longer exists, or was not
measured. What ``-k``, ``-m``, ``--lf``, ``--deselect`` or named paths left out is *not selected*. What failed, or was
never reached because the run stopped, is *errored*.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_supervm.model import Action, Case, Row, Verdict, in_scope


@dataclass(frozen=True, slots=True)
class Selection:
    """What one invocation of pytest looked at.

    Attributes
    ----------
    scope
        Files and folders that were searched for tests, relative to the root directory; ``.`` is all of it.
    deselected
        Node ids that were found and left out.
    outcomes
        Node id to outcome (``passed``, ``failed``, ``skipped``, ``not run``) of everything that was found and not
        left out.
    errors
        Files that could not be collected.
    whole
        False when an option (``--lf``, ``--ignore``) leaves tests out without naming them.
    """

    scope: tuple[str, ...] = (".",)
    deselected: frozenset[str] = frozenset()
    outcomes: Mapping[str, str] = field(default_factory=dict)
    errors: frozenset[str] = frozenset()
    whole: bool = True


def absent(case: Case, selection: Selection) -> Row:
    """Return the row of a case of the baseline that this run did not measure; a missing one blocks.

    Parameters
    ----------
    case
        The case as it was kept.
    selection
        What this invocation looked at.
    """
    verdict, reason = _judge(case.nodeid, case.file, selection)
    action = Action.BLOCK if verdict is Verdict.MISSING else None
    return Row(id=case.id, location=case.location, verdict=verdict, reason=reason, action=action)


def _judge(nodeid: str, file: str, selection: Selection) -> tuple[Verdict, str]:
    outcome = selection.outcomes.get(nodeid)
    if outcome == "failed":
        return Verdict.ERRORED, "its test failed"
    if outcome == "not run":
        return Verdict.ERRORED, "the run stopped before its test"
    if file in selection.errors:
        return Verdict.ERRORED, f"{file} could not be collected"
    if outcome == "skipped":
        return Verdict.MISSING, "its test was skipped, so the case was not measured"
    if outcome is not None:
        return Verdict.MISSING, "its test ran and did not measure this case"
    if nodeid in selection.deselected:
        return Verdict.NOT_SELECTED, "this run's options left it out"
    if not in_scope(file, selection.scope):
        return Verdict.NOT_SELECTED, f"this run was not told to search {file}"
    if not selection.whole:
        return Verdict.NOT_SELECTED, "an option such as --lf or --ignore may have left it out"
    return Verdict.MISSING, "the baseline has this case and it no longer exists; save a new run to accept its removal"
