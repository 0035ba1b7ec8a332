"""The bank edge of the book."""
