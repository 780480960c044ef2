"""HTTP: protocols, middleware, checks, routes, the WebSocket, health and metrics."""
