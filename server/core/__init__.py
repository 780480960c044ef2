"""Shared types and tools: errors, frames, WebSocket messages, addresses, logs, metrics.

Nothing here depends on sessions, routes, engines or aiortc.
"""
