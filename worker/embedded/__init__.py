"""PostgreSQL and Temporal as children of one process, from installed packages: nothing is fetched
at run time.
"""
