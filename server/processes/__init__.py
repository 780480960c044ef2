"""Child processes: start, watch, measure, end with all their descendants; the frames to and from
workers.

Which process is wanted is decided in `hosting`.
"""
