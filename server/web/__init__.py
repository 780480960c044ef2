"""HTTP: listening sockets and protocols, routes, the WebSocket, and the checks and errors that all
routes share; health and metrics.

Other routes for operators are in features.
"""
