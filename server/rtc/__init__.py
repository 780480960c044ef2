"""The media path: packets, capture times, the path's rate and decoding."""
