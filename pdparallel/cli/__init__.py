"""Commands of ``python -m pdparallel``."""
