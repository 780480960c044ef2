"""The order of work: the fair queue and the run of one job.

`server/inference.py` works through it.
"""
