"""The watches of one session: the choice of frames, the requests about them, and the rings.

The rule that decides when a watch rings is in `attention`.
"""
