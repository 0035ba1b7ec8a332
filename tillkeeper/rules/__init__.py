"""Plain functions and profiles that decide. They import contracts only, and do nothing else."""
