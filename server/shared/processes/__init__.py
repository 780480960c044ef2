"""Child processes: start, watch, measure, end with all their descendants; the frames to and from
workers.

`hosting` decides about the process.
"""
