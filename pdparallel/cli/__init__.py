"""The commands of ``python -m pdparallel``."""
