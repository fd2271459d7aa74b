"""Who runs the tasks: one module for each engine, imported only when a call needs it."""
