"""Requests of one session: their construction and size, history, consent, and messages about the answer.

Questions, watches and background work use this; `models/scheduler` runs the requests.
"""
