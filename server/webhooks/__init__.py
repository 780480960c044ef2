"""Rings of watches on their way to other programs: signed, queued, sent, tried again, or given up.

`attention/` and `session/watches/` decide when a watch rings; `core/webhook_list.py` reads the
operator's list.
"""
