"""From a decoded frame to the picture a model gets. Pure: no asyncio, no web, no WebRTC."""
