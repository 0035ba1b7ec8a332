"""The book: schema, posting, holds, statements, verification. It does not know who calls it."""
