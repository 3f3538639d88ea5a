"""By whose rules a branch is judged: on the author's own machine by its own, in CI by those of its merge base.

Else a branch could pass by loosening what it is held to: a threshold, a limit, the level, a marker, or the kept numbers
themselves. In CI (``CI=true``) these are read from the merge base, and every difference is named in the output, so that
a change of the rules is a thing that a reviewer sees and that takes effect once it is merged.

For ``git:REF`` the merge base is the one that is compared. For kept runs it is the one with the branch that the
request wants to be merged into, as the CI system names it (`TARGETS`), or with a branch of the baseline's name.
"""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pytest_supervm import settings as options
from pytest_supervm.settings import Settings, SettingsError

if TYPE_CHECKING:
    from pytest_supervm.duel.checkout import Opponent
    from pytest_supervm.model import History

TARGETS = ("GITHUB_BASE_REF", "CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "BITBUCKET_PR_DESTINATION_BRANCH")
"""Environment variables in which CI systems name the branch that a request is made for."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What an invocation is judged by.

    Attributes
    ----------
    settings
        With the policies, the level, the metrics and the store that count.
    base
        The merge base whose rules these are; None where the working tree's own count.
    notes
        What differs in the working tree, and what could not be read from the merge base, as sentences.
    """

    settings: Settings
    base: Opponent | None = None
    notes: list[str] = field(default_factory=list)

    def history(self, root: Path) -> History | None:
        """Return the kept runs as the merge base has them; None where the working tree's count."""
        from pytest_supervm.baselines import files

        name = self.settings.kept
        place = (root / self.settings.store / f"{name}{files.ENDING}").resolve()
        if name is None or self.base is None or not place.is_relative_to(self.base.top.resolve()):
            return None
        old = _content(self.base, place)
        if old is None:
            self.notes.append(f"the merge base has no baseline {name!r}: the kept runs of this branch itself count")
            return None
        if not place.exists() or place.read_bytes() != old:
            self.notes.append(
                f"this branch changes the kept runs of {name!r}: those of the merge base count, as in any CI"
            )
        return files.history(name, io.BytesIO(old), f"{self.base.commit[:7]}:{self.settings.store}/{place.name}")


def of(settings: Settings, root: Path) -> Rules:
    """Return the rules of an invocation.

    Parameters
    ----------
    settings
        As the working tree and the command line have them.
    root
        pytest's root directory.

    Raises
    ------
    SettingsError
        The ref that was asked for has no merge base.
    """
    if settings.baseline is None or os.environ.get("CI", "").lower() not in ("true", "1"):
        return Rules(settings)
    base = _base(settings, root)
    if base is None:
        return Rules(
            settings,
            notes=[
                "no branch is known whose rules could count: this branch is judged by its own policies and kept runs. "
                f"Fetch the branch that it is to be merged into, and name it in {TARGETS[0]}"
            ],
        )
    pyproject = root / "pyproject.toml"
    text = _content(base, pyproject.resolve())
    try:
        old = options.parse(text, Path(f"{base.commit[:7]}:{pyproject.name}")) if text is not None else {}
    except SettingsError as error:
        return Rules(settings, base, [f"the rules of the merge base cannot be read, this branch's own count: {error}"])
    new = options.read_file(pyproject)
    judging: dict[str, Any] = {key: old.get(key, getattr(Settings, key, {})) for key in ("level", "policy")}
    judging["metrics"] = {**_table(new, "metrics"), **_table(old, "metrics")}
    if settings.store == new.get("store", Settings.store):  # else the command line names another
        judging["store"] = old.get("store", Settings.store)
    return Rules(dataclasses.replace(settings, **judging), base, list(_changes(old, new)))


def _base(settings: Settings, root: Path) -> Opponent | None:
    """Return the merge base whose rules count, None where it cannot be told."""
    from pytest_supervm.duel import checkout

    if settings.ref is not None:
        return checkout.find(root, settings.ref)
    named = (os.environ.get(variable) for variable in TARGETS)
    for branch in [*filter(None, named), str(settings.kept)]:
        for ref in (f"refs/remotes/origin/{branch}", f"refs/heads/{branch}"):
            try:
                return checkout.find(root, ref)
            except SettingsError:
                continue
    return None


def _content(base: Opponent, path: Path) -> bytes | None:
    from pytest_supervm.duel import checkout

    return checkout.content(base, path)


def _changes(old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[str]:
    """Name what the working tree changes in what judges, each with both values."""
    told = "that of the merge base counts, as in any CI"
    for key in ("level", "store"):
        before, after = (table.get(key, getattr(Settings, key)) for table in (old, new))
        if before != after:
            yield f"this branch changes [tool.supervm] {key} from {before!r} to {after!r}: {told}"
    for key in ("policy", "metrics"):
        before, after = _table(old, key), _table(new, key)
        for name in _ordered(before, after):
            if before.get(name) != after.get(name) and (key == "policy" or name in before):
                change = f"from {_shown(before.get(name))} to {_shown(after.get(name))}"
                yield f"this branch changes [tool.supervm.{key}] {name} {change}: {told}"


def _table(table: Mapping[str, object], key: str) -> dict[str, object]:
    return cast("dict[str, object]", table.get(key, {}))


def _ordered(*tables: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(name for table in tables for name in table))


def _shown(value: object) -> str:
    """Write a value much as TOML does."""
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{name} = {_shown(one)}' for name, one in value.items())} }}"
    return "nothing" if value is None else f'"{value}"' if isinstance(value, str) else str(value)
