"""A request of one session: its parts, its size, its history and consent, and where its answer goes.

Questions, watches and background work make their requests here. `models/scheduler` runs them.
"""
