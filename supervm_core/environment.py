"""Reading settings from environment variables: a value of the stated kind and range, or an error that says what is.

A variable that is unset or empty stands for the default. Nothing is guessed: `yes` is no flag, and a number out of
range is not brought into it, since a setting that silently does something else would be found out in production.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from supervm_core.errors import SettingError

MOST_DIGITS = 19
"""Digits of a number that is read at all: none that fits a machine word has more."""


def flag(name: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether a variable is `1`; `0` is the default.

    Raises
    ------
    SettingError
        If it is anything else.
    """
    return choice(name, ("0", "1"), environ) == "1"


def choice(name: str, choices: Sequence[str], environ: Mapping[str, str] = os.environ) -> str:
    """Return a variable that is one of several words; the first is the default.

    Raises
    ------
    SettingError
        If it is none of them.
    """
    value = environ.get(name) or choices[0]
    if value not in choices:
        raise SettingError(_refusal(name, value, f"one of {', '.join(choices)}", choices[0]))
    return value


def whole(name: str, least: int, most: int, default: int, environ: Mapping[str, str] = os.environ) -> int:
    """Return a variable that is a whole number in decimal digits.

    Raises
    ------
    SettingError
        If it is not, or is below `least` or above `most`.
    """
    value = environ.get(name) or str(default)
    digits = value.isascii() and value.isdigit() and len(value) <= MOST_DIGITS
    if not digits or not least <= int(value) <= most:
        raise SettingError(_refusal(name, value, f"a whole number from {least} to {most}", str(default)))
    return int(value)


def _refusal(name: str, value: str, wanted: str, default: str) -> str:
    return f"{name} is {value!r}; {wanted} is wanted. Correct it, or unset it for the default, {default}"
