"""Lazy rows, columns and groups: cheap until the function does more than read them."""
