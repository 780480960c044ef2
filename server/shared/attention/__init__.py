"""Attention: finds whether the scene is still that of the last answer. Pure: `now` is an argument.

`attention.py` is the change gate, and the pace at which background work may ask; `changes.py` finds the changes.
Features that ask by themselves use it: `watches`, `describe`, `recall`, `reading`.
"""
