"""Child processes: start, watch, end with all their descendants, and what they take; the frames to and from workers.

Which process is wanted is decided in `hosting`.
"""
