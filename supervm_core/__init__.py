"""The subject: a reference transaction executor and its compiled twins."""

from supervm_core.engine import SuperVM

__all__ = ["SuperVM"]
