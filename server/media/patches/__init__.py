"""Changes to aiortc and aioice, each with its reason and a test that fails when the library changes
underneath.

Beside this folder only `turn_check` and the feature `cameras` import aioice.
"""
