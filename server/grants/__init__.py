"""Access that a person gives other programs to one session: grants, their tokens, scopes and rates. Pure.

The looks of a program are in `session/programs`; HTTP is in `programs`.
"""
