"""Scheduling: jobs, their runs, and the fair queue. `server/inference.py` runs them."""
