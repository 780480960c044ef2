"""The camera of a session: its connection, packets, frames and pictures.

`sdp` checks offers and builds answers, `patches` changes aiortc and aioice, `video` turns packets
into frames, `path_rate` measures the path and limits the sender, `camera` keeps the newest frame,
`picture` prepares it for a model. Sound is in `shared/sound`.
"""
