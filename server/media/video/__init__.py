"""From RTP packets to decoded frames: order, loss, capture time, bounds, decoding.

`media/patches` hands the packets over; the newest frame is in `media/camera`.
"""
