"""Small breaks, one or more for each promise of SECURITY.md, and the tests that notice them.

`python -m tests.breaks` applies each to a copy of the tree and runs its test, which has to fail.
That takes about half an hour, so .ci/nightly runs it; tests/project/test_breaks.py holds in every
run that the breaks still fit the tree.
"""
