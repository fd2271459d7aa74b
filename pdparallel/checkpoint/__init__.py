"""Checkpoint: what is finished of a call, kept in a folder, so that the same call takes up where it stopped."""
