"""The order of work: jobs, the fair queue, and the run of one job.

`server/inference.py` works through it.
"""
