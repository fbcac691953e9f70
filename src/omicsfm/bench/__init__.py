"""Benchmarks: statistics, cost and verdicts."""
