"""A frame's way from RTP packets to pixels: order, loss, capture time, bounds, decoding."""
