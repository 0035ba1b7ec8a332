"""How fast the book is, measured against itself and against bare PostgreSQL on the same machine."""
