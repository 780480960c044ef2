"""The server below the application: listening sockets, protocols, signals, the service manager, the
terminal.

`web` handles the requests.
"""
