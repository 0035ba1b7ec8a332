"""Tests on real servers; one folder per room."""
