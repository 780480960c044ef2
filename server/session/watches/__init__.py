"""The watches of one session: which frames are asked about, in which requests, and when they ring.

The rule that decides when a watch rings is in `attention`.
"""
