"""The listening end of the server: sockets, protocols below the application, signals, the service manager, the terminal.

What a request means is decided in `web`.
"""
