"""Every exception that the subject raises on purpose: one tree, so that one `except` clause covers it.

A transaction that fails is not an exception: its receipt says why, and the batch goes on. What stands here is raised
before anything was executed, about input that cannot be a batch, a state or a program, or about a machine that lacks
something. No exception below leaves a state half changed, except the one that says so.
"""

from __future__ import annotations


class SuperVMError(Exception):
    """Anything that `supervm_core` refuses to do. Costs nothing: the state is as it was."""


class BatchError(SuperVMError, ValueError):
    """The columns do not form a batch (lengths, types or ranges). Nothing was executed; correct the named column."""


class StateError(SuperVMError, ValueError):
    """The arrays do not form a state (lengths, types or ranges). Nothing was built; correct the named array."""


class ProgramError(SuperVMError, ValueError):
    """A program's text or encoding cannot be read. Nothing was built; the message names the line and the remedy.

    Attributes
    ----------
    line : int or None
        Line of the text that is at fault, counted from 1; None where the fault belongs to no single line.
    """

    def __init__(self, message: str, *, line: int | None = None) -> None:
        super().__init__(message if line is None else f"line {line}: {message}")
        self.line = line


class WireError(SuperVMError, ValueError):
    """Bytes, or addresses, that cannot be read as what they should be. Nothing was built; the message says where.

    Attributes
    ----------
    record : int or None
        The record at fault, counted from 0; None where the fault lies in no record.
    """

    def __init__(self, message: str, *, record: int | None = None) -> None:
        super().__init__(message)
        self.record = record


class UnknownNameError(SuperVMError, LookupError):
    """A name (of an executor, workload or feature) that nothing answers to. Choose one that the message lists."""


class MissingDependencyError(SuperVMError, ImportError):
    """A package that this feature needs is not installed. Run the command that the message gives; nothing is lost."""


class TelemetryError(SuperVMError, ValueError):
    """A measurement that cannot be one (a negative time, an array that does not fit). It was not counted."""


class SettingError(SuperVMError, ValueError):
    """A setting or an environment variable without a meaning. Nothing was started; the message says what it may be."""


class PlacementError(SuperVMError, OSError):
    """Cores or memory could not be bound as planned. Work goes on where the system puts it, maybe slower."""


class StalledError(SuperVMError, RuntimeError):
    """Workers have stopped getting on. The one error after which a state may be half changed: go back to a copy."""
