"""The answers of one session as speech, while they are written.

Voices are in `engines.speech`, the sound that waits to be sent is in `voice`.
"""
