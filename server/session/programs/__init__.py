"""Other programs that a person lets look: their questions, their watches, and what the page hears of both.

The grants themselves are in `server/grants`; how programs get in is in `server/programs`.
"""
