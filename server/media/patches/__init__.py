"""Patches of aiortc and aioice, each with its reason and a test that fails if the patched code changes.

Only this folder, `shared/turn_check.py` and the feature `cameras` import aioice.
"""
