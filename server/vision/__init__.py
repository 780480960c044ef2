"""Turn decoded frames into pictures for models: sampling, filters, resizing, encoding. Pure: no asyncio, web, WebRTC."""
