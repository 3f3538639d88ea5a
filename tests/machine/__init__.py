"""Tests of `supervm_core.machine`."""
