"""Measurements: `python -m benchmarks` prints and writes a table; see `python -m benchmarks --help`."""
