"""From RTP packets to decoded frames: order, loss, capture time, bounds, decoding."""
