"""Access to the server: limits on requests and guesses, access that was taken back, the operator's
token, and what processes share where a feature joins them.

Tokens and the access code themselves are in `server/auth.py`; HTTP is in `web`.
"""
