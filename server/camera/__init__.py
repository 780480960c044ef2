"""One camera as the rest of the server sees it: its newest frame, who waits for one, how it should send.

Packets and decoding are in `rtc`.
"""
