"""Attention: finds whether the scene is still that of the last answer. Pure: `now` is an argument.

`gate.py` is the change gate; `attention.py` joins it with the pace at which background work may ask.
Features that ask by themselves use it: `watches`, `describe`, `recall`, `reading`.
"""
