"""The bank edge of the book: files, statements, entries, and what they were booked as."""
