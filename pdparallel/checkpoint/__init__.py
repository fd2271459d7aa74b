"""Storage of the finished part of a call in a folder, so that the same call can resume."""
