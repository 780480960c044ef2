"""Attention: finds whether the scene is still that of the last answer. Pure: `now` is an argument.

`gate.py` is the change gate, and `pace.py` decides when background work may ask; `attention.py`
joins both for one piece of such work. Cameras, sessions and their purposes are the business of the
layers above.
"""
