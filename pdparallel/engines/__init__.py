"""Engines: who runs the tasks. One module each; they never import one another, and the registry imports them late."""
