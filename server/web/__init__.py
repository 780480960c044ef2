"""Routes for visitors, the WebSocket, WHIP, and the checks and errors that all HTTP shares; health
and metrics.

The operator's routes are in `operator`.
"""
