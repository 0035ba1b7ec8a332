"""Tests of the wiring and of the embedded stack."""
