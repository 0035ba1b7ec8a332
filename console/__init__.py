"""What people touch: the ``tillkeeper`` command line."""
