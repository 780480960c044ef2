"""Turn decoded frames into pictures for models: sampling, filters, resizing, encoding.

Pure: no asyncio, web, WebRTC. Frames come from `media/camera`; `session/request` decides what is sent.
"""
