"""Measuring devices, shared by the benchmark and the tests: simulated cameras, a clock that is seen, a stand-in model.

Nothing here imports the server's modules: what is measured is reached by HTTP, WebSocket and WebRTC, as by anybody.
"""
