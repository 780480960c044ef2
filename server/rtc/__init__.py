"""WebRTC without a session: offers and answers, and the check of a TURN server.

`patches` knows aiortc and aioice, `media` turns packets into frames, `rate` decides how fast a camera sends.
"""
