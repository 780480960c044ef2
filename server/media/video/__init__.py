"""From RTP packets to decoded frames: order, loss, capture time, bounds, decoding.

`media/patches` passes the packets; `media/camera` stores the newest frame.
"""
