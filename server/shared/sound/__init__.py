"""The sound of a session in both directions: the audio section of its connection, without aiortc's transceivers.

`line.py` connects the microphone and the page's loudspeaker, and queues the speech to send;
`microphone.py` converts a microphone's packets to sound without gaps.
"""
