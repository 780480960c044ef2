"""Convert decoded frames to pictures for models: measuring, filters, resizing, encoding.

Pure: no asyncio, web, WebRTC. Frames come from `media/camera`; `session/request` decides what is sent.
"""
