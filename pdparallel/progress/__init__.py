"""Progress of a running call for the user: bars, log lines, and the output of workers."""
