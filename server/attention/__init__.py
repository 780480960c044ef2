"""Attention: finds whether the scene still is the one that the last answer was about. Pure: `now` is an argument.

`gate.py` is the change gate, `pace.py` says when background work may ask. `watches.py` decides what to ask about the
conditions that people watch for and when one rings; `watch_answers.py` has the question and reads the answer. What a camera is, who asks and what for
is decided above.
"""
