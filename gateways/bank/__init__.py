"""Banks' files, read into one form; nothing here keeps, matches or books what it reads."""
