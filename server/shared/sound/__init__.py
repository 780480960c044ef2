"""A session's sound in both directions: the audio section of its connection, beside aiortc.

`line.py` joins what a microphone sends and what the page plays, and holds the speech that waits to
be sent; `microphone.py` makes sound without holes of a microphone's packets.
"""
