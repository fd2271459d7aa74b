"""One call: where it runs, how its chunks are sent, and how its results are collected."""
