"""Benchmarks: where every figure of the README and every tuned constant of the package comes from."""
