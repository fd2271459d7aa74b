"""One call: where it runs, how its chunks travel, and what comes back."""
