"""What runs in a worker: load a task, call the function, send the returns."""
