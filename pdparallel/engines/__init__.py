"""Engines, which run the tasks: one module each, imported only when a call needs it."""
