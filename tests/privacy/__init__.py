"""What must not be readable by those who operate the servers."""
