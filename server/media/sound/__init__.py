"""A session's sound in both directions: the audio section of its connection, beside aiortc.

`line.py` joins what a microphone sends and what the page plays, and holds the speech that waits to
be sent; `pcm.py` knows forms of sound.
"""
