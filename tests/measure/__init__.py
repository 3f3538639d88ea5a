"""Tests of how a number is obtained."""
