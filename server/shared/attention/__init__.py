"""Detects whether the scene differs from that of the last answer. Pure: `now` is an argument.

`attention.py` has the change gate and the pace of background requests; `changes.py` detects the changes. Used by the
features with background requests: `watches`, `describe`, `recall`, `reading`.
"""
