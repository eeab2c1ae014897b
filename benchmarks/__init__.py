"""Measurements, each runnable by itself: `python -m benchmarks.memory`."""
