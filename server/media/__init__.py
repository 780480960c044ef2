"""The camera's way into the server: the connection, its packets, frames and pictures, and its sound.

`sdp` checks and builds the connection's descriptions, `patches` changes aiortc and aioice, `video`
turns packets into frames, `path_rate` measures the path and limits the sender, `camera`
keeps the newest frame, `picture` prepares it for a model, `sound` is the other half.
"""
