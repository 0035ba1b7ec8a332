"""Frozen models that cross a door: requests, decisions, views, names, errors. No I/O, no clock."""
