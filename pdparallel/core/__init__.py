"""Plain values that all other folders use: options, calls, chunks, returns."""
