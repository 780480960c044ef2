"""Measurements for docs/FIGURES.md: with simulated cameras, with the page, and over bad network
links.

See `python -m benchmarks --help`. Parts that scripts/benchmark.py also needs are in
scripts/bench/: cameras, the stand-in model, the report. Those modules import nothing from the
server: they connect to it as clients do.
"""
