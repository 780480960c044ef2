"""Access to the server: pairing codes, guesses, limits, devices, access that was taken back, the
operator's token.

Tokens and the access code themselves are in `server/auth.py`; HTTP is in `web`.
"""
