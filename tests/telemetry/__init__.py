"""Tests of `supervm_core.telemetry`."""
