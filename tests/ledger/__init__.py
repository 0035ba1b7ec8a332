"""The book against real PostgreSQL."""
