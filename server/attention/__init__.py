"""Attention: finds whether the scene is still that of the last answer. Pure: `now` is an argument.

`gate.py` is the change gate, and `pace.py` decides when background work may ask; `attention.py`
joins both for one piece of such work. `recall.py` keeps pictures of the recent past. `watches.py`
decides what to ask about the conditions that people watch for and when one rings;
`watch_answers.py` has the question and reads the answer. Cameras, sessions and their purposes are
the business of the layers above.
"""
