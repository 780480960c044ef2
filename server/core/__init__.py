"""Types and tools for every folder: errors, frames, WebSocket messages, addresses, logs, metrics.

Nothing here knows a session, a route, an engine or aiortc.
"""
