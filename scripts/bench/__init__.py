"""Parts of scripts/benchmark.py that benchmarks/, doctor.py, monitor.py and the tests use, too:
simulated cameras, a clock in their pictures, a stand-in model, reports.

Of the server these modules import only what knows nothing of it: they reach it by HTTP, WebSocket
and WebRTC.
"""
