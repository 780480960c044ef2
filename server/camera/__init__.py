"""One session's camera: its newest frame, the questions that wait for a frame, and its sending limits.

Packets and decoding are in `rtc`.
"""
