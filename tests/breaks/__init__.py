"""Promises, and small breaks of each that its tests have to notice: tests/**/promises.toml.

`python -m tests.breaks` applies each break to a copy of the tree and runs its test. All take about
half an hour, so .ci/nightly runs them, and .ci/run a few by chance; tests/project/test_breaks.py
holds in every run that the breaks still fit the tree.
"""
