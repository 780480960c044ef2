"""The nouns and tools that every folder uses: errors, frames, the wire's messages, addresses, logs, metrics, GPUs.

Nothing here knows a session, a route, an engine or aiortc.
"""
