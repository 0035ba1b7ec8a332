"""A bank to test against: a process of its own with a book of its own, which fails on request.

Its book is the standard library's SQLite and deliberately not our PostgreSQL, so that no fault of
ours can hide in it. Of our code it shares no more than how amounts, names and numbers are written.
"""
