"""Parts of scripts/monitor.py: reading a server, computing its state, showing it."""
