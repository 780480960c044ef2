"""Parts of scripts/benchmark.py, also used by benchmarks/, doctor.py, monitor.py and tests: simulated
cameras, a clock in their pictures, a stand-in model, reports.

They use the server by HTTP, WebSocket and WebRTC, and import only modules that are independent of it.
"""
