"""Cost of a call: estimated before it runs (explain), and measured while it runs (profile)."""
