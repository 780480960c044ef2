"""A session's sound in both directions. Pure: `now` is an argument.

`line.py` joins what a microphone sends and what the page plays, and holds the speech that waits to be
sent; `pcm.py` knows forms of sound. Packets and codecs are in `rtc/sound/`.
"""
