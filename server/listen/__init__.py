"""The server below the application: listening sockets, protocols, signals, the service manager.

`web` handles the requests.
"""
