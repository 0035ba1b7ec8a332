"""Frozen models that cross a door: requests, decisions, views, names and errors. No I/O, no clock."""
