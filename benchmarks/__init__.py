"""Our own figures (docs/FIGURES.md): through simulated cameras, through the page, and over bad
links.

`python -m benchmarks --help` starts here. Parts that scripts/benchmark.py needs, too, live in
scripts/bench/: cameras, the stand-in model, the report. Of the server these modules import nothing:
they reach it as a client does.
"""
