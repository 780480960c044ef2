"""WebRTC below the session: checks of offers, answers, and the test of a TURN server.

`patches` changes aiortc and aioice, `media` turns packets into frames, `rate` measures the path and
limits the sender.
"""
