"""Tests of `supervm_core.control`."""
