"""Rows, columns and groups that cost little until a function needs more than reading."""
