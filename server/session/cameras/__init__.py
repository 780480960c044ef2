"""The cameras of one session: who may join, their names and states, the pictures that a page shows, and those of a
question.

The newest frame of each is in `server/camera`; connections are in `server/webrtc_server.py`.
"""
