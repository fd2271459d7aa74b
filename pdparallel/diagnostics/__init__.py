"""What a call costs: before it runs (explain) and after it ran (profile)."""
