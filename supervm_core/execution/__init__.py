"""Compiled executors, each equal to `supervm_core.reference` and faster.

Import a room of this package only when a batch is to be executed: each loads numba and its machine code at once.
"""
