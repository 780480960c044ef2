"""Routes for visitors, the WebSocket, and the checks and errors that all HTTP shares; health
and metrics.

Other routes for operators are in `operator`, and in features.
"""
