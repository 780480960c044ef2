"""Changes to aiortc and aioice, each with its reason and a test that fails when the library changes
underneath.

Beside this folder only `shared/turn_check.py` and the feature `cameras` import aioice.
"""
