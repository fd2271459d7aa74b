"""The oracle: whatever serial pandas answers, the parallel call answers too, for frames and functions of every kind."""
