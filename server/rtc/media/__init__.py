"""From RTP packets to decoded frames: order, loss, capture time, bounds, decoding.

`rtc/patches` hands the packets over; the newest frame is in `camera`.
"""
