"""A question's way in one session: its picture, its answer, the places that an answer names, and
texts that are read on.

Spoken questions come here from `listening`; the request itself is made in `request`.
"""
