"""What a user sees while a call runs: bars, log lines, and the output of workers."""
